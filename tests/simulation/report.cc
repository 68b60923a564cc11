#include "tests/simulation/report.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace dreamgate::simulation {

void Summary::Add(const History& history) {
  ++histories;
  if (!history.violations.empty()) ++failures;
  events += history.events;
  crashes += history.crashes;
  restarts += history.restarts;
  calls += history.calls;
  streams += history.streams;
  posts += history.posts;
  gets += history.gets;
  lists += history.lists;
  webhooks += history.webhooks;
  tasks += history.tasks;
  faults += history.faults;
  orphans += history.orphans;
  resends += history.resends;
  absences += history.absences;
  forgotten += history.forgotten;
  ambiguous_answers += history.ambiguous_answers;
  videos_lost_sight_of += history.videos_lost_sight_of;
  transactions += history.transactions;
  transactions_failed += history.transactions_failed;
  transitions += history.transitions;
  length += history.length;
}

std::string Summary::Text() const {
  return absl::StrCat(
      histories, " histories, ", failures, " with violations\n", events, " events in ",
      absl::StrCat(absl::ToInt64Hours(length)), " virtual hours\n", crashes, " crashes, ", restarts,
      " orderly restarts, ", faults, " faults of upstream, network and disk\n", transactions,
      " transactions, ", transactions_failed, " of them failed\n", calls, " submissions, ", streams,
      " watch streams, ", transitions, " transitions shown, ", forgotten,
      " predictions forgotten\n", posts, " POSTs, ", tasks, " tasks paid for, ", gets, " GETs, ",
      lists, " pages of history, ", webhooks, " webhooks\n", ambiguous_answers,
      " answers that told nothing, ", absences, " absences, ", resends, " resends, ", orphans,
      " orphans, ", videos_lost_sight_of, " videos paid for and lost sight of\n");
}

std::string DescribeFailure(const History& history, Size size) {
  return absl::StrCat(history.trace, "\nseed ", history.seed, ":\n  ",
                      absl::StrJoin(history.violations, "\n  "), "\nReplay: simulation --first ",
                      history.seed, " --seeds 1 --trace",
                      size == Size::kLarge ? " --size large" : "", "\n");
}

}  // namespace dreamgate::simulation
