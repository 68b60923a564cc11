// The check that the fuzzers share: a broken promise ends the process, so that libFuzzer keeps the input.
#ifndef DREAMGATE_TESTS_FUZZ_CHECK_H_
#define DREAMGATE_TESTS_FUZZ_CHECK_H_

#include <cstdio>
#include <cstdlib>

#include "absl/strings/string_view.h"

namespace dreamgate::fuzz {

// `promise` says what must hold; `value` is shown with it.
inline void Check(bool holds, const char* promise, absl::string_view value = {}) {
  if (holds) return;
  std::fprintf(stderr, "broken promise: %s: \"%.*s\"\n", promise,
               static_cast<int>(value.substr(0, 4096).size()), value.data());
  std::abort();
}

// Takes the text up to the next newline off `rest`, the newline too.
inline absl::string_view TakeLine(absl::string_view& rest) {
  const absl::string_view line = rest.substr(0, rest.find('\n'));
  rest.remove_prefix(line.size());
  if (!rest.empty()) rest.remove_prefix(1);
  return line;
}

}  // namespace dreamgate::fuzz

#endif  // DREAMGATE_TESTS_FUZZ_CHECK_H_
