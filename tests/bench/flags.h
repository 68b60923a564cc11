// The command line of a bench or a long test: pairs of a flag and its value.
#ifndef DREAMGATE_TESTS_BENCH_FLAGS_H_
#define DREAMGATE_TESTS_BENCH_FLAGS_H_

#include <cstdint>
#include <map>
#include <string>
#include <variant>

#include "absl/strings/numbers.h"

namespace dreamgate::bench {

// Where a flag's value goes. An int or a double is greater than 0; a uint64_t may be 0.
using FlagTarget = std::variant<int*, uint64_t*, double*, std::string*>;

// False: a flag is unknown, or its value is missing, empty or no such number.
inline bool ReadFlags(int argc, char** argv, const std::map<std::string, FlagTarget>& flags) {
  struct Reader {
    const std::string& text;
    bool operator()(int* number) const { return absl::SimpleAtoi(text, number) && *number > 0; }
    bool operator()(uint64_t* number) const { return absl::SimpleAtoi(text, number); }
    bool operator()(double* number) const { return absl::SimpleAtod(text, number) && *number > 0; }
    bool operator()(std::string* value) const { return !(*value = text).empty(); }
  };
  for (int i = 1; i < argc; i += 2) {
    const auto flag = flags.find(argv[i]);
    const std::string text = i + 1 < argc ? argv[i + 1] : "";
    if (flag == flags.end() || !std::visit(Reader{text}, flag->second)) return false;
  }
  return true;
}

}  // namespace dreamgate::bench

#endif  // DREAMGATE_TESTS_BENCH_FLAGS_H_
