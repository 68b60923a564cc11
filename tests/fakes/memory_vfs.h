// A disk in memory under SQLite: what was synced survives a power loss, what was only written may
// survive in part, sector by sector. A simulated history owns one; one connection at a time uses it.
//
// The model, per file: an image that a power loss leaves alone, and above it the writes since the last
// sync, in order. A failed sync leaves its writes readable but forgets to bring them to the disk, as
// operating systems do: syncing again does not help, writing again does. Creating and deleting a file
// is durable at once.
#ifndef DREAMGATE_TESTS_FAKES_MEMORY_VFS_H_
#define DREAMGATE_TESTS_FAKES_MEMORY_VFS_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "tests/fakes/chance.h"

struct sqlite3_vfs;

namespace dreamgate::fakes {

enum class DiskFault {
  kNone,
  kFull,        // every write fails for want of room
  kWriteError,  // every write fails
  kSyncError,   // writes work, syncs fail
  kDead,        // everything fails, opening too
};

enum class CrashKind {
  kProcessKilled,  // what was written stays, though not yet durable
  kPowerLoss,      // of what was not synced an arbitrary part is lost
};

class MemoryVfs {
 public:
  MemoryVfs();
  ~MemoryVfs();
  MemoryVfs(const MemoryVfs&) = delete;
  MemoryVfs& operator=(const MemoryVfs&) = delete;

  // Has the files of `other`, as they are on its disk, instead of its own. Nothing may be open.
  void CopyFilesOf(const MemoryVfs& other);

  // As SQLite knows it; registered as long as this object lives.
  const std::string& name() const { return name_; }

  void set_fault(DiskFault fault) { fault_ = fault; }
  DiskFault fault() const { return fault_; }

  // The process dies in the middle of its next but `changes` writes or syncs: that one (if a write, cut
  // at a sector) and everything later fail until Crash.
  void DieAfter(int changes) { changes_until_death_ = changes; }
  bool died() const { return died_; }

  // The end of the process: open files are useless from now on, whatever their owner still tries, and
  // nothing can be opened or deleted until Restart.
  void Crash(CrashKind kind, Chance& chance);
  // The next process may open its files.
  void Restart();

  // Facts for tests.
  int64_t bytes_not_synced() const;

 private:
  friend struct MemoryVfsCalls;

  // One change since the last sync.
  struct Change {
    int64_t offset = 0;
    size_t begin = 0;  // its bytes, in `written`
    size_t size = 0;
    bool truncates = false;  // to `offset`; no bytes
  };
  struct File {
    std::vector<char> visible;  // what reads see
    std::vector<char> durable;
    std::vector<Change> changes;
    std::vector<char> written;  // the bytes of all changes
    // Pages whose sync failed, as they were then; by page number.
    std::map<int64_t, std::vector<char>> abandoned;

    void Write(int64_t offset, const char* data, size_t size);
    void Remember(int64_t offset, const char* data, size_t size);
    void ForgetChanges();
    void Truncate(int64_t size);
    void Sync();
    void AbandonChanges();
    void LoseUnsynced(Chance& chance);
  };

  // Counts down to death; true: this very change is the one cut short.
  bool DiesNow();

  const std::string name_;
  std::unique_ptr<sqlite3_vfs> vfs_;
  std::map<std::string, std::shared_ptr<File>> files_;
  uint64_t process_ = 1;  // files opened by an earlier one are useless
  DiskFault fault_ = DiskFault::kNone;
  int changes_until_death_ = -1;  // -1: lives
  bool died_ = false;
};

// Tells SQLite and the allocator that many disks are about to be used, and quickly: no common counters
// and locks, no memory given back between two of them. Call before anything else, or not at all.
void PrepareForManyDisks();

}  // namespace dreamgate::fakes

#endif  // DREAMGATE_TESTS_FAKES_MEMORY_VFS_H_
