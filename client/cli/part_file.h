// A file that appears under its name only when it is whole: written as <file>.part, synced, then
// renamed. Removes what is unfinished when destroyed. One thread.
#ifndef DREAMGATE_CLIENT_CLI_PART_FILE_H_
#define DREAMGATE_CLIENT_CLI_PART_FILE_H_

#include <cstddef>
#include <cstdint>
#include <string>

namespace dreamgate::client {

// All functions return what went wrong, for people; empty: nothing.
class PartFile {
 public:
  explicit PartFile(std::string file);
  ~PartFile();
  PartFile(const PartFile&) = delete;
  PartFile& operator=(const PartFile&) = delete;

  std::string Open();
  std::string Append(const char* data, size_t size);
  std::string Restart();  // forgets what was appended
  std::string Publish(bool overwrite);

  uint64_t size() const { return size_; }

 private:
  const std::string file_;
  const std::string part_;
  int descriptor_ = -1;
  uint64_t size_ = 0;
};

}  // namespace dreamgate::client

#endif  // DREAMGATE_CLIENT_CLI_PART_FILE_H_
