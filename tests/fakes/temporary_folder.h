// A new empty folder of a test's or bench's own, removed with everything in it. One thread.
#ifndef DREAMGATE_TESTS_FAKES_TEMPORARY_FOLDER_H_
#define DREAMGATE_TESTS_FAKES_TEMPORARY_FOLDER_H_

#include <stdlib.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <system_error>
#include <vector>

namespace dreamgate::fakes {

class TemporaryFolder {
 public:
  // In `parent`. Without it nothing can be tested: the program ends.
  explicit TemporaryFolder(
      const std::filesystem::path& parent = std::filesystem::temp_directory_path())
      : path_((parent / ("dreamgate-test-" + std::string(6, 'X'))).string()) {
    if (mkdtemp(path_.data()) != nullptr) return;
    std::perror(("no folder can be made in " + parent.string()).c_str());
    std::exit(1);
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;

  const std::string& path() const { return path_; }
  std::string File(const std::string& name) const { return path_ + "/" + name; }

  // Returns the file's path.
  std::string Write(const std::string& name, const std::string& content) const {
    std::ofstream(File(name), std::ios::binary) << content;
    return File(name);
  }
  // As mounted secrets change: another file takes the name.
  void Replace(const std::string& name, const std::string& content) const {
    std::filesystem::rename(Write(name + ".new", content), File(name));
  }

  std::string Read(const std::string& name) const {
    std::ifstream file(File(name), std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }

  // The names of what is in it, sorted.
  std::vector<std::string> Names() const {
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(path_)) {
      names.push_back(entry.path().filename().string());
    }
    std::sort(names.begin(), names.end());
    return names;
  }

 private:
  std::string path_;
};

}  // namespace dreamgate::fakes

#endif  // DREAMGATE_TESTS_FAKES_TEMPORARY_FOLDER_H_
