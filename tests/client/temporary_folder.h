// A folder that lasts as long as the test. One thread.
#ifndef DREAMGATE_TESTS_CLIENT_TEMPORARY_FOLDER_H_
#define DREAMGATE_TESTS_CLIENT_TEMPORARY_FOLDER_H_

#include <stdlib.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

namespace dreamgate::client {

class TemporaryFolder {
 public:
  TemporaryFolder() { path_ = mkdtemp(path_.data()); }
  ~TemporaryFolder() { std::filesystem::remove_all(path_); }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;

  std::string operator/(const std::string& name) const { return path_ + "/" + name; }
  const std::string& path() const { return path_; }

  std::vector<std::string> files() const {  // sorted names
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(path_)) {
      names.push_back(entry.path().filename().string());
    }
    std::sort(names.begin(), names.end());
    return names;
  }

  std::string Read(const std::string& name) const {
    std::ifstream file(path_ + "/" + name, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }

  void Write(const std::string& name, const std::string& content) const {
    std::ofstream(path_ + "/" + name, std::ios::binary) << content;
  }

 private:
  std::string path_ = "/tmp/dreamgate-client-test-XXXXXX";
};

}  // namespace dreamgate::client

#endif  // DREAMGATE_TESTS_CLIENT_TEMPORARY_FOLDER_H_
