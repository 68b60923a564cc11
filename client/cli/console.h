// The terminal: lines of data on stdout, notices and one live progress line on stderr, without one
// tearing the other. Owned by main; safe from any thread. A thread of its own redraws the progress.
#ifndef DREAMGATE_CLIENT_CLI_CONSOLE_H_
#define DREAMGATE_CLIENT_CLI_CONSOLE_H_

#include <condition_variable>
#include <cstdio>
#include <functional>
#include <mutex>
#include <string>
#include <thread>

namespace dreamgate::client {

class Console {
 public:
  // `quiet`: neither notices nor progress. Progress is drawn only where stderr is a terminal.
  explicit Console(bool quiet);
  ~Console();

  void Data(const std::string& lines);    // stdout, at once
  void Notice(const std::string& lines);  // stderr
  void Error(const std::string& lines);   // stderr, also if quiet

  // Shows what `line` returns, asked five times a second on the console's thread, until replaced.
  void ShowProgress(std::function<std::string()> line);
  void HideProgress();

  // False once stdout has refused data (disk full, closed).
  bool data_written() const;

 private:
  void Redraw();
  void DrawLocked();
  void EraseLocked();
  void PrintLocked(std::FILE* file, const std::string& lines);

  const bool quiet_;
  const bool live_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::function<std::string()> progress_;  // guarded by mutex_, as what follows
  bool drawn_ = false;
  bool leaving_ = false;
  bool data_written_ = true;
  std::thread redrawer_;
};

}  // namespace dreamgate::client

#endif  // DREAMGATE_CLIENT_CLI_CONSOLE_H_
