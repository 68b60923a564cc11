#include "client/cli/output_files.h"

#include <unistd.h>

#include <filesystem>
#include <system_error>

namespace dreamgate::client {
namespace {

namespace fs = std::filesystem;

bool IsFolder(const std::string& output) {
  std::error_code error;
  return output.empty() || fs::is_directory(output, error);
}

fs::path FolderOf(const std::string& output) {
  if (output.empty()) return ".";
  if (IsFolder(output)) return output;
  const fs::path parent = fs::path(output).parent_path();
  return parent.empty() ? fs::path(".") : parent;
}

// The id comes from a server: it must not lead out of the folder or hide the file.
std::string SafeName(const std::string& prediction_id) {
  constexpr char kAllowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.~";
  std::string name = prediction_id.substr(0, 64);
  for (char& c : name) {
    if (std::string(kAllowed).find(c) == std::string::npos) c = '_';
  }
  if (name.empty() || name[0] == '.' || name[0] == '-') name.insert(0, "_");
  return name;
}

}  // namespace

std::string FollowLinks(const std::string& file) {
  std::error_code error;
  if (!fs::is_symlink(fs::symlink_status(file, error))) return file;
  const fs::path end = fs::canonical(file, error);
  return error ? file : end.string();
}

std::string CheckOutput(const std::string& output, bool overwrite) {
  std::error_code error;
  const bool is_file = !IsFolder(output) && fs::exists(fs::symlink_status(output, error));
  if (is_file && !fs::is_regular_file(output, error))
    return "--output: " + output + " is not a regular file";
  const std::string folder = FolderOf(FollowLinks(output)).string();
  if (!fs::is_directory(folder, error)) return "--output: the folder " + folder + " does not exist";
  if (access(folder.c_str(), W_OK) != 0)
    return "--output: the folder " + folder + " is not writable";
  if (!output.empty() && output.back() == '/' && !IsFolder(output)) {
    return "--output: the folder " + output + " does not exist";
  }
  if (is_file && !overwrite) {
    return "--output: " + output + " exists; --force overwrites it";
  }
  return "";
}

std::vector<std::string> OutputFiles(const std::string& output, const std::string& prediction_id,
                                     size_t count) {
  const fs::path base =
      IsFolder(output) ? FolderOf(output) / (SafeName(prediction_id) + ".mp4") : fs::path(output);
  if (count == 1) return {base.string()};
  std::vector<std::string> files;
  for (size_t number = 1; number <= count; ++number) {
    const std::string name =
        base.stem().string() + "-" + std::to_string(number) + base.extension().string();
    files.push_back((base.parent_path() / name).string());
  }
  return files;
}

}  // namespace dreamgate::client
