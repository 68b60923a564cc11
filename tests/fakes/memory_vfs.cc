#include "tests/fakes/memory_vfs.h"

#include <malloc.h>
#include <sqlite3.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <new>

#include "absl/strings/str_cat.h"

namespace dreamgate::fakes {
namespace {

constexpr int64_t kPage = 4096;    // what an operating system writes back at once
constexpr size_t kRoom = 1 << 18;  // for a file to grow into
constexpr size_t kSector = 512;    // what a disk writes whole or not at all

void WriteInto(std::vector<char>& image, int64_t offset, const char* data, size_t size) {
  const size_t end = static_cast<size_t>(offset) + size;
  if (image.capacity() < end) image.reserve(std::max(2 * end, kRoom));
  if (image.size() < end) image.resize(end);
  std::memcpy(image.data() + offset, data, size);
}

// Writes the sectors of `bytes` for which `keeps` says so.
template <typename Keeps>
void WriteSectors(std::vector<char>& image, int64_t offset, const char* bytes, size_t length,
                  Keeps keeps) {
  for (size_t begin = 0; begin < length;) {
    const size_t to_edge = kSector - (static_cast<size_t>(offset) + begin) % kSector;
    const size_t size = std::min(to_edge, length - begin);
    if (keeps()) {
      WriteInto(image, offset + static_cast<int64_t>(begin), bytes + begin, size);
    }
    begin += size;
  }
}

std::string NewName() {
  static std::atomic<uint64_t> count{0};
  return absl::StrCat("simulated-disk-", ++count);
}

}  // namespace

// ------------------------------------------------------------------------------------------ the model

void MemoryVfs::File::Write(int64_t offset, const char* data, size_t size) {
  WriteInto(visible, offset, data, size);
  if (abandoned.empty()) {
    Remember(offset, data, size);
    return;
  }
  // Whole pages go back to the disk: touching one of which a sync has failed saves the rest of it.
  int64_t begin = offset;
  int64_t end = offset + static_cast<int64_t>(size);
  if (abandoned.contains(begin / kPage)) begin = begin / kPage * kPage;
  if (abandoned.contains((end - 1) / kPage)) end = ((end - 1) / kPage + 1) * kPage;
  end = std::min(end, static_cast<int64_t>(visible.size()));
  Remember(begin, visible.data() + begin, static_cast<size_t>(end - begin));
}

void MemoryVfs::File::Remember(int64_t offset, const char* data, size_t size) {
  changes.push_back({.offset = offset, .begin = written.size(), .size = size});
  written.insert(written.end(), data, data + size);
}

void MemoryVfs::File::ForgetChanges() {
  changes.clear();
  written.clear();
}

void MemoryVfs::File::Truncate(int64_t size) {
  visible.resize(static_cast<size_t>(size));
  changes.push_back({.offset = size, .truncates = true});
}

void MemoryVfs::File::Sync() {
  for (const Change& change : changes) {
    if (change.truncates) {
      durable.resize(static_cast<size_t>(change.offset));
      abandoned.erase(abandoned.lower_bound((change.offset + kPage - 1) / kPage), abandoned.end());
      continue;
    }
    WriteInto(durable, change.offset, written.data() + change.begin, change.size);
    if (abandoned.empty()) continue;
    const int64_t end = change.offset + static_cast<int64_t>(change.size);
    abandoned.erase(abandoned.lower_bound(change.offset / kPage),
                    abandoned.lower_bound((end + kPage - 1) / kPage));
  }
  ForgetChanges();
}

void MemoryVfs::File::AbandonChanges() {
  for (const Change& change : changes) {
    if (change.truncates) {
      durable.resize(static_cast<size_t>(change.offset));
      continue;
    }
    const int64_t end = change.offset + static_cast<int64_t>(change.size);
    for (int64_t page = change.offset / kPage; page * kPage < end; ++page) abandoned[page];
  }
  for (auto& [page, bytes] : abandoned) {
    const auto size = static_cast<int64_t>(visible.size());
    const int64_t begin = std::min(page * kPage, size);
    bytes.assign(visible.begin() + begin, visible.begin() + std::min(begin + kPage, size));
  }
  ForgetChanges();
}

void MemoryVfs::File::LoseUnsynced(Chance& chance) {
  for (const auto& [page, bytes] : abandoned) {
    WriteSectors(durable, page * kPage, bytes.data(), bytes.size(),
                 [&chance] { return chance.Percent(50); });
  }
  abandoned.clear();
  // The disk got to `kept` of the changes, all in order; or to some of them, some torn.
  const bool in_order = chance.Percent(50);
  const size_t kept = chance.Index(changes.size() + 1);
  const double share = chance.Weighted<double>({{1, 0}, {1, 100}, {2, 90}, {2, 50}});
  for (size_t i = 0; i < changes.size(); ++i) {
    const Change& change = changes[i];
    if (in_order && i > kept) break;
    if (change.truncates) {
      if (in_order ? i < kept : chance.Percent(share)) {
        durable.resize(static_cast<size_t>(change.offset));
      }
    } else if (in_order && i < kept) {
      WriteInto(durable, change.offset, written.data() + change.begin, change.size);
    } else {
      WriteSectors(durable, change.offset, written.data() + change.begin, change.size,
                   [&chance, share] { return chance.Percent(share); });
    }
  }
  ForgetChanges();
  visible = durable;
}

void MemoryVfs::Crash(CrashKind kind, Chance& chance) {
  ++process_;
  died_ = true;
  if (kind == CrashKind::kPowerLoss) {
    for (auto& [name, file] : files_) file->LoseUnsynced(chance);
  }
}

void MemoryVfs::Restart() {
  changes_until_death_ = -1;
  died_ = false;
}

void MemoryVfs::CopyFilesOf(const MemoryVfs& other) {
  files_.clear();
  for (const auto& [name, file] : other.files_) {
    files_[name] = std::make_shared<File>(File{file->durable, file->durable, {}, {}, {}});
  }
}

int64_t MemoryVfs::bytes_not_synced() const {
  int64_t bytes = 0;
  for (const auto& [name, file] : files_) {
    for (const Change& change : file->changes) bytes += static_cast<int64_t>(change.size);
    for (const auto& [page, content] : file->abandoned)
      bytes += static_cast<int64_t>(content.size());
  }
  return bytes;
}

bool MemoryVfs::DiesNow() {
  if (changes_until_death_ < 0 || changes_until_death_-- > 0) return false;
  died_ = true;
  return true;
}

// ------------------------------------------------------------------------------ as SQLite calls it

struct MemoryVfsCalls {
  // What SQLite hands to every call on an open file.
  struct Handle {
    sqlite3_file base;
    MemoryVfs* disk;
    std::shared_ptr<MemoryVfs::File> file;
    uint64_t process;

    bool usable() const {
      return process == disk->process_ && !disk->died_ && disk->fault_ != DiskFault::kDead;
    }
  };

  static Handle& HandleOf(sqlite3_file* file) { return *reinterpret_cast<Handle*>(file); }
  static MemoryVfs& DiskOf(sqlite3_vfs* vfs) { return *static_cast<MemoryVfs*>(vfs->pAppData); }

  static int Close(sqlite3_file* file) {
    HandleOf(file).~Handle();
    return SQLITE_OK;
  }

  static int Read(sqlite3_file* file, void* data, int size, sqlite3_int64 offset) {
    const Handle& handle = HandleOf(file);
    if (!handle.usable()) return SQLITE_IOERR_READ;
    const std::vector<char>& visible = handle.file->visible;
    const auto end = static_cast<sqlite3_int64>(visible.size());
    const sqlite3_int64 there = std::clamp<sqlite3_int64>(end - offset, 0, size);
    if (there > 0) std::memcpy(data, visible.data() + offset, static_cast<size_t>(there));
    if (there == size) return SQLITE_OK;
    std::memset(static_cast<char*>(data) + there, 0, static_cast<size_t>(size - there));
    return SQLITE_IOERR_SHORT_READ;
  }

  static int Write(sqlite3_file* file, const void* data, int size, sqlite3_int64 offset) {
    const Handle& handle = HandleOf(file);
    if (!handle.usable()) return SQLITE_IOERR_WRITE;
    MemoryVfs& disk = *handle.disk;
    if (disk.fault_ == DiskFault::kWriteError) return SQLITE_IOERR_WRITE;
    if (disk.fault_ == DiskFault::kFull) return SQLITE_FULL;
    auto bytes = static_cast<size_t>(size);
    const bool dies = disk.DiesNow();
    if (dies) bytes = bytes / 2 / kSector * kSector;
    if (bytes > 0) handle.file->Write(offset, static_cast<const char*>(data), bytes);
    return dies ? SQLITE_IOERR_WRITE : SQLITE_OK;
  }

  static int Truncate(sqlite3_file* file, sqlite3_int64 size) {
    const Handle& handle = HandleOf(file);
    if (!handle.usable() || handle.disk->fault_ == DiskFault::kWriteError ||
        handle.disk->DiesNow()) {
      return SQLITE_IOERR_TRUNCATE;
    }
    handle.file->Truncate(size);
    return SQLITE_OK;
  }

  static int Sync(sqlite3_file* file, int) {
    const Handle& handle = HandleOf(file);
    if (!handle.usable() || handle.disk->DiesNow()) return SQLITE_IOERR_FSYNC;
    if (handle.disk->fault_ == DiskFault::kSyncError) {
      handle.file->AbandonChanges();
      return SQLITE_IOERR_FSYNC;
    }
    handle.file->Sync();
    return SQLITE_OK;
  }

  static int FileSize(sqlite3_file* file, sqlite3_int64* size) {
    if (!HandleOf(file).usable()) return SQLITE_IOERR_FSTAT;
    *size = static_cast<sqlite3_int64>(HandleOf(file).file->visible.size());
    return SQLITE_OK;
  }

  // One connection: every lock is free.
  static int Lock(sqlite3_file*, int) { return SQLITE_OK; }
  static int CheckReservedLock(sqlite3_file*, int* reserved) {
    *reserved = 0;
    return SQLITE_OK;
  }
  static int FileControl(sqlite3_file*, int, void*) { return SQLITE_NOTFOUND; }
  // As on Linux: a write that is cut short harms no byte outside its range.
  static int SectorSize(sqlite3_file*) { return static_cast<int>(kPage); }
  static int DeviceCharacteristics(sqlite3_file*) { return SQLITE_IOCAP_POWERSAFE_OVERWRITE; }

  static int Open(sqlite3_vfs* vfs, const char* name, sqlite3_file* file, int flags,
                  int* out_flags) {
    // Version 1: no shared memory, which an exclusively locked ledger must not need.
    static const sqlite3_io_methods kMethods = {1,
                                                Close,
                                                Read,
                                                Write,
                                                Truncate,
                                                Sync,
                                                FileSize,
                                                Lock,
                                                Lock,
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
    MemoryVfs& disk = DiskOf(vfs);
    file->pMethods = nullptr;
    if (disk.died_ || disk.fault_ == DiskFault::kDead) return SQLITE_CANTOPEN;
    std::shared_ptr<MemoryVfs::File> content;
    const auto found = name == nullptr ? disk.files_.end() : disk.files_.find(name);
    if (found != disk.files_.end()) {
      content = found->second;
    } else {
      if ((flags & SQLITE_OPEN_CREATE) == 0) return SQLITE_CANTOPEN;
      if (disk.fault_ == DiskFault::kFull) return SQLITE_FULL;
      content = std::make_shared<MemoryVfs::File>();
      if (name != nullptr) disk.files_[name] = content;
    }
    new (file) Handle{{&kMethods}, &disk, std::move(content), disk.process_};
    if (out_flags != nullptr) *out_flags = flags;
    return SQLITE_OK;
  }

  static int Delete(sqlite3_vfs* vfs, const char* name, int) {
    MemoryVfs& disk = DiskOf(vfs);
    if (disk.died_ || disk.fault_ == DiskFault::kDead) return SQLITE_IOERR_DELETE;
    return disk.files_.erase(name) > 0 ? SQLITE_OK : SQLITE_IOERR_DELETE_NOENT;
  }

  static int Access(sqlite3_vfs* vfs, const char* name, int, int* result) {
    const auto& files = DiskOf(vfs).files_;
    const auto found = files.find(name);
    // SQLite takes an empty file for none, and so do the operating system's VFSs.
    *result = found != files.end() && !found->second->visible.empty() ? 1 : 0;
    return SQLITE_OK;
  }

  static int FullPathname(sqlite3_vfs*, const char* name, int size, char* path) {
    sqlite3_snprintf(size, path, "%s", name);
    return SQLITE_OK;
  }

  static int Randomness(sqlite3_vfs*, int size, char* bytes) {
    std::memset(bytes, 0x5a, static_cast<size_t>(size));
    return size;
  }
  static int Sleep(sqlite3_vfs*, int microseconds) { return microseconds; }
  static int CurrentTime(sqlite3_vfs*, double* julian_day) {
    *julian_day = 2460000.5;
    return SQLITE_OK;
  }
  static int GetLastError(sqlite3_vfs*, int, char*) { return 0; }
};

MemoryVfs::MemoryVfs() : name_(NewName()), vfs_(std::make_unique<sqlite3_vfs>()) {
  vfs_->iVersion = 1;
  vfs_->szOsFile = static_cast<int>(sizeof(MemoryVfsCalls::Handle));
  vfs_->mxPathname = 512;
  vfs_->zName = name_.c_str();
  vfs_->pAppData = this;
  vfs_->xOpen = MemoryVfsCalls::Open;
  vfs_->xDelete = MemoryVfsCalls::Delete;
  vfs_->xAccess = MemoryVfsCalls::Access;
  vfs_->xFullPathname = MemoryVfsCalls::FullPathname;
  vfs_->xRandomness = MemoryVfsCalls::Randomness;
  vfs_->xSleep = MemoryVfsCalls::Sleep;
  vfs_->xCurrentTime = MemoryVfsCalls::CurrentTime;
  vfs_->xGetLastError = MemoryVfsCalls::GetLastError;
  sqlite3_vfs_register(vfs_.get(), /*makeDflt=*/0);
}

void PrepareForManyDisks() {
  sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);
  mallopt(M_MMAP_THRESHOLD, 1 << 30);
  mallopt(M_TRIM_THRESHOLD, 1 << 30);
}

MemoryVfs::~MemoryVfs() { sqlite3_vfs_unregister(vfs_.get()); }

}  // namespace dreamgate::fakes
