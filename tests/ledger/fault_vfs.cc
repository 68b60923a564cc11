#include "tests/ledger/fault_vfs.h"

#include <sqlite3.h>

#include <atomic>
#include <cstring>

namespace dreamgate::ledger {
namespace {

std::atomic<Fault> current_fault{Fault::kNone};
std::atomic<Fault> next_fault{Fault::kNone};
std::atomic<int> changes_until_next{0};  // 0: there is no next

void CountChange() {
  if (changes_until_next > 0 && --changes_until_next == 0) current_fault = next_fault.load();
}

// Followed in memory by the real file.
struct FaultFile {
  sqlite3_file base;
};

sqlite3_vfs* RealVfs() { return sqlite3_vfs_find("unix"); }

sqlite3_file* Real(sqlite3_file* file) {
  return reinterpret_cast<sqlite3_file*>(reinterpret_cast<FaultFile*>(file) + 1);
}

int WriteFault() {
  switch (current_fault) {
    case Fault::kDiskFull: return SQLITE_FULL;
    case Fault::kWriteError:
    case Fault::kReadOnly:
    case Fault::kDead: return SQLITE_IOERR_WRITE;
    default: return SQLITE_OK;
  }
}

int Close(sqlite3_file* file) { return Real(file)->pMethods->xClose(Real(file)); }
int Read(sqlite3_file* file, void* data, int size, sqlite3_int64 offset) {
  if (current_fault == Fault::kDead) return SQLITE_IOERR_READ;
  const int code = Real(file)->pMethods->xRead(Real(file), data, size, offset);
  if (current_fault == Fault::kGarbage) std::memset(data, 0xa5, static_cast<size_t>(size));
  return code;
}
int Write(sqlite3_file* file, const void* data, int size, sqlite3_int64 offset) {
  const int fault = WriteFault();
  if (fault != SQLITE_OK) return fault;
  CountChange();
  return Real(file)->pMethods->xWrite(Real(file), data, size, offset);
}
int Truncate(sqlite3_file* file, sqlite3_int64 size) {
  if (WriteFault() != SQLITE_OK) return SQLITE_IOERR_TRUNCATE;
  CountChange();
  return Real(file)->pMethods->xTruncate(Real(file), size);
}
int Sync(sqlite3_file* file, int flags) {
  if (current_fault == Fault::kSyncError || current_fault == Fault::kDead) {
    return SQLITE_IOERR_FSYNC;
  }
  CountChange();
  return Real(file)->pMethods->xSync(Real(file), flags);
}
int FileSize(sqlite3_file* file, sqlite3_int64* size) {
  return Real(file)->pMethods->xFileSize(Real(file), size);
}
int Lock(sqlite3_file* file, int level) { return Real(file)->pMethods->xLock(Real(file), level); }
int Unlock(sqlite3_file* file, int level) {
  return Real(file)->pMethods->xUnlock(Real(file), level);
}
int CheckReservedLock(sqlite3_file* file, int* reserved) {
  return Real(file)->pMethods->xCheckReservedLock(Real(file), reserved);
}
int FileControl(sqlite3_file* file, int operation, void* argument) {
  return Real(file)->pMethods->xFileControl(Real(file), operation, argument);
}
int SectorSize(sqlite3_file* file) { return Real(file)->pMethods->xSectorSize(Real(file)); }
int DeviceCharacteristics(sqlite3_file* file) {
  return Real(file)->pMethods->xDeviceCharacteristics(Real(file));
}

// Version 1: no shared memory, which an exclusively locked ledger must not need.
const sqlite3_io_methods kMethods = {1,
                                     Close,
                                     Read,
                                     Write,
                                     Truncate,
                                     Sync,
                                     FileSize,
                                     Lock,
                                     Unlock,
                                     CheckReservedLock,
                                     FileControl,
                                     SectorSize,
                                     DeviceCharacteristics,
                                     nullptr,
                                     nullptr,
                                     nullptr,
                                     nullptr,
                                     nullptr,
                                     nullptr};

int Open(sqlite3_vfs*, const char* name, sqlite3_file* file, int flags, int* out_flags) {
  file->pMethods = nullptr;
  if (current_fault == Fault::kDead) return SQLITE_CANTOPEN;
  if (current_fault == Fault::kReadOnly) {
    flags = (flags & ~(SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE)) | SQLITE_OPEN_READONLY;
  }
  const int code = RealVfs()->xOpen(RealVfs(), name, Real(file), flags, out_flags);
  if (code == SQLITE_OK) file->pMethods = &kMethods;
  return code;
}

}  // namespace

void RegisterFaultVfs() {
  static sqlite3_vfs vfs = [] {
    sqlite3_vfs copy = *RealVfs();
    copy.szOsFile += static_cast<int>(sizeof(FaultFile));
    copy.zName = kFaultVfs;
    copy.pNext = nullptr;
    copy.xOpen = Open;
    return copy;
  }();
  sqlite3_vfs_register(&vfs, /*makeDflt=*/0);
}

void SetFault(Fault fault) {
  changes_until_next = 0;
  current_fault = fault;
}

void SetFaultAfter(int changes, Fault fault) {
  SetFault(changes > 0 ? Fault::kNone : fault);
  next_fault = fault;
  changes_until_next = changes;
}

}  // namespace dreamgate::ledger
