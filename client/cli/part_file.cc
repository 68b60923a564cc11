#include "client/cli/part_file.h"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <system_error>
#include <utility>

namespace dreamgate::client {
namespace {

std::string Failure(const std::string& what, const std::string& file) {
  const int error = errno;
  const std::string why =
      error == ENOSPC || error == EDQUOT ? "the disk is full" : std::strerror(error);
  return "cannot " + what + " " + file + ": " + why;
}

// Makes the rename durable. Some file systems cannot; the video is there all the same.
void SyncFolder(const std::string& file) {
  const std::filesystem::path folder = std::filesystem::path(file).parent_path();
  const int descriptor =
      open(folder.empty() ? "." : folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor < 0) return;
  fsync(descriptor);
  close(descriptor);
}

}  // namespace

PartFile::PartFile(std::string file) : file_(std::move(file)), part_(file_ + ".part") {}

PartFile::~PartFile() {
  if (descriptor_ < 0) return;
  close(descriptor_);
  unlink(part_.c_str());
}

std::string PartFile::Open() {
  descriptor_ = open(part_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0666);
  return descriptor_ < 0 ? Failure("create", part_) : "";
}

std::string PartFile::Append(const char* data, size_t size) {
  while (size > 0) {
    const ssize_t written = write(descriptor_, data, size);
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return Failure("write", part_);
    data += written;
    size -= static_cast<size_t>(written);
    size_ += static_cast<uint64_t>(written);
  }
  return "";
}

std::string PartFile::Restart() {
  if (ftruncate(descriptor_, 0) != 0 || lseek(descriptor_, 0, SEEK_SET) != 0)
    return Failure("rewind", part_);
  size_ = 0;
  return "";
}

std::string PartFile::Publish(bool overwrite) {
  // A rename would put a plain file in the place of a device, a pipe or a link.
  std::error_code error;
  const std::filesystem::file_status there = std::filesystem::symlink_status(file_, error);
  if (overwrite && std::filesystem::exists(there) && !std::filesystem::is_regular_file(there))
    return file_ + " is not a regular file";
  if (fsync(descriptor_) != 0) return Failure("write", part_);
  const unsigned flags = overwrite ? 0 : RENAME_NOREPLACE;
  int result = renameat2(AT_FDCWD, part_.c_str(), AT_FDCWD, file_.c_str(), flags);
  if (result != 0 && flags != 0 && errno == EINVAL) {
    // The file system does not know the flag: a hard link refuses an existing name as well.
    result = link(part_.c_str(), file_.c_str());
    if (result == 0) unlink(part_.c_str());
  }
  if (result != 0) {
    return errno == EEXIST ? file_ + " exists; --force overwrites it" : Failure("create", file_);
  }
  close(std::exchange(descriptor_, -1));
  SyncFolder(file_);
  return "";
}

}  // namespace dreamgate::client
