// Files that may be replaced while we run (a mounted secret, a renewed certificate): tells when to read
// them again. Owned by whoever reads them, entered by one thread.
#ifndef DREAMGATE_SERVER_NET_WATCHED_FILES_H_
#define DREAMGATE_SERVER_NET_WATCHED_FILES_H_

#include <sys/types.h>

#include <cstddef>
#include <string>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace dreamgate::net {

class WatchedFiles {
 public:
  // Looks at once. `now` is a monotonic clock, the system's if empty.
  explicit WatchedFiles(std::vector<std::string> files,
                        absl::AnyInvocable<absl::Time()> now = nullptr);

  // Whether they are others than those that were accepted last. Looks at most once a second, and is
  // false in between.
  bool HaveChanged();

  // Looks now. Reading comes after looking, so that a change in between is seen later.
  void Look();

  // Says that the content read after the last look is in use.
  void Accept();
  // Says that the content cannot be used, so the next look will find a change. True: this problem has
  // not been reported yet.
  bool Refuse(const absl::Status& problem);

 private:
  // Tells one version of a file from another without reading it.
  struct Version {
    dev_t device = 0;
    ino_t inode = 0;
    off_t size = -1;  // there is no such file
    absl::Time modified;
    friend bool operator==(const Version&, const Version&) = default;
  };
  static Version VersionOf(const std::string& file);

  const std::vector<std::string> files_;
  absl::AnyInvocable<absl::Time()> now_;
  std::vector<Version> seen_;
  std::vector<Version> accepted_;
  std::string problem_;  // told last, and not overcome since
  absl::Time next_look_;
};

// The content of a file that has at most `longest` bytes. InvalidArgument, which names the file, if it
// has more or cannot be read.
absl::StatusOr<std::string> ReadSmallFile(const std::string& file, size_t longest);

}  // namespace dreamgate::net

#endif  // DREAMGATE_SERVER_NET_WATCHED_FILES_H_
