#include "client/cli/console.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <chrono>
#include <utility>

#include "client/cli/format.h"

namespace dreamgate::client {
namespace {

size_t TerminalWidth() {
  winsize size{};
  return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 10 ? size.ws_col : 80;
}

}  // namespace

Console::Console(bool quiet) : quiet_(quiet), live_(!quiet && isatty(STDERR_FILENO) == 1) {
  if (live_) redrawer_ = std::thread([this] { Redraw(); });
}

Console::~Console() {
  HideProgress();
  {
    const std::lock_guard lock(mutex_);
    leaving_ = true;
    changed_.notify_all();
  }
  if (redrawer_.joinable()) redrawer_.join();
}

void Console::Data(const std::string& lines) {
  const std::lock_guard lock(mutex_);
  PrintLocked(stdout, lines);
  if (std::ferror(stdout) != 0) data_written_ = false;
}

void Console::Notice(const std::string& lines) {
  if (quiet_) return;
  Error(lines);
}

void Console::Error(const std::string& lines) {
  const std::lock_guard lock(mutex_);
  PrintLocked(stderr, lines);
}

void Console::ShowProgress(std::function<std::string()> line) {
  if (!live_) return;
  const std::lock_guard lock(mutex_);
  progress_ = std::move(line);
  DrawLocked();
}

void Console::HideProgress() {
  const std::lock_guard lock(mutex_);
  progress_ = nullptr;
  EraseLocked();
}

bool Console::data_written() const {
  const std::lock_guard lock(mutex_);
  return data_written_;
}

void Console::Redraw() {
  std::unique_lock lock(mutex_);
  while (!leaving_) {
    DrawLocked();
    changed_.wait_for(lock, std::chrono::milliseconds(200));
  }
}

void Console::DrawLocked() {
  if (progress_ == nullptr) return;
  // No newline and one column spare, so that the terminal never wraps what is to be erased.
  std::fprintf(stderr, "\r\x1b[K%s", Shorten(progress_(), TerminalWidth() - 1).c_str());
  std::fflush(stderr);
  drawn_ = true;
}

void Console::EraseLocked() {
  if (!drawn_) return;
  std::fputs("\r\x1b[K", stderr);
  std::fflush(stderr);
  drawn_ = false;
}

void Console::PrintLocked(std::FILE* file, const std::string& lines) {
  EraseLocked();
  std::fputs(lines.c_str(), file);
  std::fputc('\n', file);
  std::fflush(file);
  DrawLocked();
}

}  // namespace dreamgate::client
