// A folder of its own for one test, gone with it.
#ifndef DREAMGATE_TESTS_APP_TEMP_FOLDER_H_
#define DREAMGATE_TESTS_APP_TEMP_FOLDER_H_

#include <filesystem>
#include <fstream>
#include <string>

namespace dreamgate::app {

class TempFolder {
 public:
  TempFolder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "dreamgate-XXXXXX").string();
    path_ = mkdtemp(pattern.data());
  }
  ~TempFolder() { std::filesystem::remove_all(path_); }
  TempFolder(const TempFolder&) = delete;
  TempFolder& operator=(const TempFolder&) = delete;

  std::string File(const std::string& name) const { return path_ + "/" + name; }

  std::string Write(const std::string& name, const std::string& content) const {
    std::ofstream(File(name)) << content;
    return File(name);
  }

 private:
  std::string path_;
};

}  // namespace dreamgate::app

#endif  // DREAMGATE_TESTS_APP_TEMP_FOLDER_H_
