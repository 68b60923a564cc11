// A SQLite VFS over the default one that fails on command: a full or broken disk
// without one. Registered once a process under kFaultVfs; switched from any thread.
#ifndef DREAMGATE_TESTS_LEDGER_FAULT_VFS_H_
#define DREAMGATE_TESTS_LEDGER_FAULT_VFS_H_

namespace dreamgate::ledger {

inline constexpr char kFaultVfs[] = "fault";

enum class Fault {
  kNone,
  kDiskFull,    // every write fails with SQLITE_FULL
  kWriteError,  // every write fails with SQLITE_IOERR_WRITE
  kSyncError,   // writes succeed, every sync fails: a commit fails although it is in the file
  kReadOnly,    // every write fails, and files open for reading only: remounted after an error
  kGarbage,     // every read gives other bytes than were written
  kDead,        // nothing works, also no read and no open
};

void RegisterFaultVfs();
void SetFault(Fault fault);
// Once `changes` more writes, truncations and syncs have worked.
void SetFaultAfter(int changes, Fault fault);

}  // namespace dreamgate::ledger

#endif  // DREAMGATE_TESTS_LEDGER_FAULT_VFS_H_
