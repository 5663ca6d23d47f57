// SPDX-License-Identifier: BSD-3-Clause
#include "shared/core/block_names.hpp"

#include "os/failpoint.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <thread>

namespace troupe::detail {
namespace {

bool is_same_file(const descriptor& one, const descriptor& other) noexcept {
  struct stat a{};
  struct stat b{};
  return ::fstat(one.number(), &a) == 0 && ::fstat(other.number(), &b) == 0 &&
         a.st_ino == b.st_ino && a.st_dev == b.st_dev;
}

descriptor open_name(const std::string& name) noexcept {
  return descriptor{::shm_open(path_of(name).c_str(), O_RDONLY | O_CLOEXEC, 0)};
}

}  // namespace

block_lock::block_lock(const descriptor& memory, mode how, std::chrono::milliseconds patience)
    : number_{memory.number()} {
  const auto end = std::chrono::steady_clock::now() + patience;
  for (;;) {
    if (::flock(number_, (how == mode::alone ? LOCK_EX : LOCK_SH) | LOCK_NB) == 0) {
      locked_ = true;
      return;
    }
    if ((errno != EWOULDBLOCK && errno != EINTR) || std::chrono::steady_clock::now() >= end) {
      return;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds{1});
  }
}

block_lock::~block_lock() {
  if (locked_) {
    ::flock(number_, LOCK_UN);
  }
}

namespace {

struct flock byte_lock(short type, std::size_t at) noexcept {
  struct flock one{};
  one.l_type = type;
  one.l_whence = SEEK_SET;
  one.l_start = static_cast<off_t>(at);
  one.l_len = 1;
  return one;
}

}  // namespace

void hold_byte(int memory, std::size_t at) noexcept {
  struct flock one = byte_lock(F_RDLCK, at);
  ::fcntl(memory, F_OFD_SETLK, &one);
}

bool is_byte_held(const descriptor& memory, std::size_t at) noexcept {
  struct flock one = byte_lock(F_WRLCK, at);
  return ::fcntl(memory.number(), F_OFD_GETLK, &one) != 0 || one.l_type != F_UNLCK;
}

bool names(const std::string& name, const descriptor& memory) noexcept {
  const descriptor found = open_name(name);
  return found && is_same_file(found, memory);
}

void remove_block_name(const std::string& name, const descriptor& memory,
                       const std::function<bool()>& is_unused) noexcept {
  const descriptor found = open_name(name);
  if (!found || !is_same_file(found, memory)) {
    return;
  }
  const block_lock alone{found, block_lock::mode::alone};
  // Again: the name may have been removed, and given to other memory, before the lock was had.
  // Processes that open it take their slots under the lock, so none can come after this.
  if (alone && names(name, memory) && is_unused()) {
    TROUPE_FAILPOINT("blocks.remove");
    ::shm_unlink(path_of(name).c_str());
  }
}

}  // namespace troupe::detail
