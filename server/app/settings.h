// The table behind Config: what each setting is called, which values it takes, and how it is read and
// shown. Flags, environment, config file, --help and /statusz are all made from it.
#ifndef DREAMGATE_SERVER_APP_SETTINGS_H_
#define DREAMGATE_SERVER_APP_SETTINGS_H_

#include <string>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "server/app/config.h"

namespace dreamgate::app {

struct Setting {
  std::string group;
  std::string name;  // the flag without its dashes, also the key in a config file
  std::string form;  // what a value looks like, for --help
  std::string help;
  // Reads `text` into its place. The error says what is allowed; it does not name the setting.
  absl::AnyInvocable<absl::Status(const std::string& text, Config& config) const> apply;
  // As `apply` would read it.
  absl::AnyInvocable<std::string(const Config& config) const> show;
};

// In the order of --help, grouped.
std::vector<Setting> AllSettings();

// "listen-address" -> "DREAMGATE_LISTEN_ADDRESS".
std::string EnvironmentName(const std::string& setting);

}  // namespace dreamgate::app

#endif  // DREAMGATE_SERVER_APP_SETTINGS_H_
