// SPDX-License-Identifier: BSD-3-Clause
#include "troupe/detail/descriptor.hpp"

#include "troupe/detail/fork_safety.hpp"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

namespace troupe::detail {

int moved_to_own_number(int number) noexcept {
  if (number < 0 || number >= first_own_number) {
    return number;
  }
  const int moved = ::fcntl(number, F_DUPFD_CLOEXEC, first_own_number);
  const int code = errno;
  ::close(number);
  errno = code == EINVAL ? EMFILE : code;  // the limit is no higher than these numbers
  return moved;
}

void descriptor::reset(int number) noexcept {
  // After close() the number is gone even when it reports EINTR (Linux), so it is never retried.
  if (const int old = release(); old >= 0) {
    const int code = errno;  // that of the call which returned `number`
    ::close(old);
    errno = code;
  }
  number_ = own(number);
}

namespace {
fork_safe_mutex& low_numbers_mutex() {
  static auto* const one = new fork_safe_mutex;
  return *one;
}
[[maybe_unused]] const fork_safe_mutex& mutex_made_before_main = low_numbers_mutex();
}  // namespace

low_numbers_taken::low_numbers_taken() noexcept {
  low_numbers_mutex().lock();
  for (int number = 0; number < first_own_number; ++number) {
    if (::fcntl(number, F_GETFD) >= 0) {
      continue;
    }
    // Connected to nothing: for who reads or writes there meanwhile it is as bad as a closed one.
    const int made = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct stat info{};
    if (made < 0 || made >= first_own_number || ::fstat(made, &info) != 0) {
      if (made >= 0) {
        ::close(made);
      }
      return;
    }
    taken_[made] = info.st_ino;
  }
}

low_numbers_taken::~low_numbers_taken() {
  for (int number = 0; number < first_own_number; ++number) {
    struct stat info{};
    // Unless another thread has made something else of it meanwhile.
    if (taken_[number] != 0 && ::fstat(number, &info) == 0 && S_ISSOCK(info.st_mode) &&
        info.st_ino == taken_[number]) {
      ::close(number);
    }
  }
  low_numbers_mutex().unlock();
}

}  // namespace troupe::detail
