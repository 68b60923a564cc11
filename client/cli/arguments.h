// The command line of dreamgate as a value. Parsed once, on the main thread.
#ifndef DREAMGATE_CLIENT_CLI_ARGUMENTS_H_
#define DREAMGATE_CLIENT_CLI_ARGUMENTS_H_

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <variant>
#include <vector>

namespace dreamgate::client {

enum class Command { kSubmit, kWatch, kGet, kList, kGenerate };

inline constexpr char kDefaultServer[] = "localhost:50051";

struct Arguments {
  Command command = Command::kSubmit;

  // For all commands.
  std::string server = kDefaultServer;
  std::string token_file;
  std::string token;  // from the environment only: a flag would show it to every process
  bool tls = false;
  std::string ca_file;
  double timeout_seconds = 60;
  bool json = false;
  bool quiet = false;

  // submit, generate
  std::string prompt;        // "-" is already replaced by what stdin gave
  std::string aspect_ratio;  // for example "16:9"; empty: the server's default
  std::optional<int32_t> seed;
  std::string request_id;
  bool validate_only = false;

  // submit, generate, list
  std::map<std::string, std::string> labels;

  // generate
  std::string output;  // file or folder; empty: the current folder
  bool force = false;

  // watch, get
  std::string prediction_id;
  std::optional<int64_t> after_sequence;

  // list
  int page_size = 0;  // 0: the server's default
  bool all = false;
  std::vector<std::string> states;  // upper case, for example "COMPLETED"
};

// The arguments, or the exit code to end with: everything there is to say has then been printed.
std::variant<Arguments, int> ParseArguments(int argc, const char* const* argv);

}  // namespace dreamgate::client

#endif  // DREAMGATE_CLIENT_CLI_ARGUMENTS_H_
