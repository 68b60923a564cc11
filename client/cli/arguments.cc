#include "client/cli/arguments.h"

#include <CLI/CLI.hpp>

#include <charconv>
#include <cstdlib>
#include <iostream>
#include <iterator>
#include <system_error>
#include <utility>

#include "client/cli/exit_code.h"
#include "client/cli/format.h"
#include "client/cli/input_checks.h"

namespace dreamgate::client {
namespace {

constexpr char kFooter[] = R"(Exit codes:
    0  completed, or the answer was printed
    1  internal or unexpected
    2  bad arguments
    3  the server cannot be reached, or stayed unavailable for --timeout
    4  the server refused the request
    5  there is no video: FAILED, CANCELLED, TIMED_OUT or DELETED
    6  the video could not be downloaded or stored
  130  interrupted; how to resume was printed

Data goes to stdout, progress and errors to stderr. DREAMGATE_SERVER and DREAMGATE_TOKEN stand in for
--server and the content of --token-file.)";

// The check without its own description in --help, where the type's name says enough.
CLI::Validator Quietly(CLI::Validator validator) { return validator.description(""); }

void AddLabels(CLI::App& command, std::vector<std::string>& labels, const std::string& help) {
  command.add_option("--label", labels, help)
      ->type_name("KEY=VALUE")
      ->allow_extra_args(false)
      ->check([](const std::string& label) {
        const size_t equals = label.find('=');
        return equals == std::string::npos || equals == 0 ? "'" + label + "' is not KEY=VALUE"
                                                          : CheckUtf8(label);
      });
}

void AddInput(CLI::App& command, Arguments& arguments, std::vector<std::string>& labels) {
  command.add_option("PROMPT", arguments.prompt, "What the video shows; - reads it from stdin")
      ->required();
  command.add_option("--aspect-ratio", arguments.aspect_ratio, "Width to height (default 16:9)")
      ->type_name("W:H")
      ->check(CLI::IsMember({"16:9", "4:3", "1:1", "3:4", "9:16", "21:9", "9:21"}));
  command
      .add_option("--seed", arguments.seed,
                  "0 .. 2147483647 makes the same video again; -1 or none: random")
      ->check(Quietly(CLI::Range(int64_t{-1}, int64_t{2147483647})));
  command
      .add_option("--request-id", arguments.request_id,
                  "Names this request: giving it again never pays twice (default: a new UUID)")
      ->check(CheckRequestId);
  AddLabels(command, labels, "Your own mark; may be repeated");
  command.add_flag("--validate-only", arguments.validate_only,
                   "Check the request; store and send nothing");
}

std::map<std::string, std::string> SplitLabels(const std::vector<std::string>& labels) {
  std::map<std::string, std::string> result;
  for (const std::string& label : labels) {
    const size_t equals = label.find('=');
    result[label.substr(0, equals)] = label.substr(equals + 1);
  }
  return result;
}

// CLI11 takes the next word where the value after = is missing: --request-id= --force.
void RefuseEmptyValues(int argc, const char* const* argv) {
  constexpr char kNameCharacters[] = "abcdefghijklmnopqrstuvwxyz-";
  for (int index = 1; index < argc; ++index) {
    const std::string word = argv[index];
    if (word == "--") return;
    const bool flag = word.size() > 3 && word.rfind("--", 0) == 0;
    if (flag && word.back() == '=' && word.find_first_not_of(kNameCharacters) == word.size() - 1) {
      throw CLI::ValidationError(word.substr(0, word.size() - 1), "is empty");
    }
  }
}

// Reads decimal numbers only. CLI11's own reader takes 010 for eight and clamps numbers that are too large.
int64_t ParseSequence(const std::string& text) {
  int64_t sequence = -1;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), sequence);
  if (error != std::errc() || end != text.data() + text.size() || sequence < 0 || text[0] == '-') {
    throw CLI::ValidationError("--after-sequence",
                               "give a whole number from 0 to 9223372036854775807");
  }
  return sequence;
}

// CLI::Range lets NaN through.
std::string CheckTimeout(const std::string& text) {
  double seconds = 0;
  const bool good =
      CLI::detail::lexical_cast(text, seconds) && seconds >= 0.001 && seconds <= 31536000.0;
  return good ? "" : "give seconds from 0.001 to 31536000";
}

std::string ReadPromptFromStdin() {
  std::string prompt{std::istreambuf_iterator<char>(std::cin), {}};
  prompt.erase(prompt.find_last_not_of("\r\n") + 1);
  return prompt;
}

}  // namespace

std::variant<Arguments, int> ParseArguments(int argc, const char* const* argv) {
  Arguments arguments;
  std::vector<std::string> labels;
  CLI::App app("Makes videos from text through a dreamgate server.", "dreamgate");
  app.footer(kFooter);
  app.set_version_flag("--version", "dreamgate " DREAMGATE_VERSION);
  // At most one. That there is one is asked after parsing, so that an unknown word is named first.
  app.require_subcommand(0, 1);
  app.failure_message([](const CLI::App*, const CLI::Error& error) {
    return "error: " + Printable(error.what()) + "; see dreamgate --help\n";
  });
  app.fallthrough();  // flags for all commands may follow the command
  app.add_option("--server", arguments.server, "Where the server listens")
      ->type_name("HOST:PORT")
      ->envname("DREAMGATE_SERVER")
      ->check(CheckServer)
      ->capture_default_str();
  app.add_option("--token-file", arguments.token_file,
                 "File with the bearer token; read again for every call")
      ->type_name("FILE")
      ->check(Quietly(CLI::ExistingFile));
  app.add_flag("--tls", arguments.tls, "Connect with TLS, trusting the system's authorities");
  app.add_option("--ca-file", arguments.ca_file,
                 "PEM file of the authorities to trust; implies --tls")
      ->type_name("FILE")
      ->check(Quietly(CLI::ExistingFile));
  app.add_option("--timeout", arguments.timeout_seconds,
                 "How long to go on trying while the server does not answer")
      ->type_name("SECONDS")
      ->check(CheckTimeout)
      ->capture_default_str();
  app.add_flag("--json", arguments.json, "One JSON object per line on stdout");
  app.add_flag("-q,--quiet", arguments.quiet,
               "Neither progress nor transitions, only results and errors");

  CLI::App* submit = app.add_subcommand("submit", "Submit a video and print its prediction id");
  AddInput(*submit, arguments, labels);

  CLI::App* watch =
      app.add_subcommand("watch", "Print every status transition until the video is there");
  watch->add_option("PREDICTION_ID", arguments.prediction_id, "What submit printed")
      ->required()
      ->check(CheckUtf8);
  watch
      ->add_option_function<std::string>(
          "--after-sequence",
          [&arguments](const std::string& text) { arguments.after_sequence = ParseSequence(text); },
          "Resume after this transition; 0 replays all")
      ->type_name("INT");

  CLI::App* get = app.add_subcommand("get", "Print a prediction as it stands now");
  get->add_option("PREDICTION_ID", arguments.prediction_id, "What submit printed")
      ->required()
      ->check(CheckUtf8);

  CLI::App* list = app.add_subcommand("list", "List your predictions, newest first");
  list->add_option("--page-size", arguments.page_size, "How many at once (default 50)")
      ->check(Quietly(CLI::Range(1, 1000)));
  list->add_flag("--all", arguments.all, "All pages, not only the first");
  list->add_option("--state", arguments.states, "Only in this state; may be repeated")
      ->allow_extra_args(false)
      ->transform(CLI::IsMember({"QUEUED", "SUBMITTING", "UNRESOLVED", "CREATED", "PROCESSING",
                                 "COMPLETED", "FAILED", "CANCELLED", "TIMED_OUT", "DELETED"},
                                CLI::ignore_case));
  AddLabels(*list, labels, "Only with this mark; may be repeated");

  CLI::App* generate = app.add_subcommand("generate", "Submit, watch and download in one");
  AddInput(*generate, arguments, labels);
  generate
      ->add_option("-o,--output", arguments.output,
                   "Where to store the video (default ./<prediction id>.mp4)")
      ->type_name("FILE|DIR");
  generate->add_flag("--force", arguments.force, "Overwrite an existing file");

  try {
    RefuseEmptyValues(argc, argv);
    app.parse(argc, argv);
    if (app.get_subcommands().empty()) throw CLI::RequiredError("A command");
    if (arguments.prompt == "-") arguments.prompt = ReadPromptFromStdin();
    if (const std::string problem = CheckUtf8(arguments.prompt); !problem.empty())
      throw CLI::ValidationError("PROMPT", problem);
  } catch (const CLI::ParseError& error) {
    // CLI11 ends with 105 to 110 for what is wrong; 0 is --help and --version.
    return app.exit(error) == 0 ? kExitOk : kExitBadArguments;
  }

  if (submit->parsed()) arguments.command = Command::kSubmit;
  if (watch->parsed()) arguments.command = Command::kWatch;
  if (get->parsed()) arguments.command = Command::kGet;
  if (list->parsed()) arguments.command = Command::kList;
  if (generate->parsed()) arguments.command = Command::kGenerate;
  arguments.labels = SplitLabels(labels);
  if (const char* token = std::getenv("DREAMGATE_TOKEN")) arguments.token = token;
  return arguments;
}

}  // namespace dreamgate::client
