// SPDX-License-Identifier: BSD-3-Clause
#include "troupe/detail/futex.hpp"

#include "troupe/detail/descriptor.hpp"

#include "base/thread_owned.hpp"
#include "os/process_identity.hpp"

#include <fcntl.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <climits>
#include <ctime>
#include <utility>

namespace troupe::detail {

static_assert(sizeof(std::atomic<std::uint32_t>) == 4 &&
              std::atomic<std::uint32_t>::is_always_lock_free);

bool futex_wait(const std::atomic<std::uint32_t>& word, std::uint32_t expected,
                const deadline& until, bool shared) noexcept {
  timespec absolute{};
  timespec* timeout = nullptr;
  if (until) {
    // steady_clock is CLOCK_MONOTONIC in libstdc++, the clock FUTEX_WAIT_BITSET uses by default.
    const auto ns = std::chrono::duration_cast<std::chrono::nanoseconds>(until->time_since_epoch());
    if (ns.count() <= 0) {
      return word.load() != expected;
    }
    absolute.tv_sec = static_cast<time_t>(ns.count() / 1'000'000'000);
    absolute.tv_nsec = static_cast<long>(ns.count() % 1'000'000'000);
    timeout = &absolute;
  }
  const int op = FUTEX_WAIT_BITSET | (shared ? 0 : FUTEX_PRIVATE_FLAG);
  const long result =
      ::syscall(SYS_futex, &word, op, expected, timeout, nullptr, FUTEX_BITSET_MATCH_ANY);
  const int problem = result < 0 ? errno : 0;
#if defined(__SANITIZE_THREAD__)
  if (problem == EINTR) {
    // ThreadSanitizer does not know that this waits, so it has kept the signal back until a function
    // that it replaces returns. Who waits again in a loop calls none.
    ::usleep(0);
  }
#endif
  return problem != ETIMEDOUT;
}

handover* handover::of_this_thread() {
  handover* const own = thread_owned<handover>::get();
  return own != nullptr && own->write_ >= 0 && own->forks_ == fork_generation() ? own : nullptr;
}

handover::handover() noexcept {
  watch_forks();
  forks_ = fork_generation();
  std::array<int, 2> ends{-1, -1};
  if (::pipe2(ends.data(), O_CLOEXEC) == 0) {
    read_ = moved_to_own_number(ends[0]);
    write_ = moved_to_own_number(ends[1]);
    if (read_ < 0 || write_ < 0) {  // none left: waits use the futex
      ::close(std::exchange(read_, -1));
      ::close(std::exchange(write_, -1));
    }
  }
}

handover::~handover() {
  // In a forked child these numbers may belong to other files by now.
  if (read_ >= 0 && forks_ == fork_generation()) {
    ::close(read_);
    ::close(write_);
  }
}

bool handover::wait() noexcept {
  char byte = 0;
  ssize_t bytes = 0;
  while ((bytes = ::read(read_, &byte, 1)) < 0 && errno == EINTR) {
  }
  if (bytes == 1) {
    return true;
  }
  // Not closed here: other code closed one of them, and the numbers may belong to other files now.
  read_ = write_ = -1;
  return false;
}

void handover::signal(int address) noexcept {
  // The pipe has room, because its reader takes each byte before it waits again.
  const char byte = 1;
  while (::write(address, &byte, 1) < 0 && errno == EINTR) {
  }
}

void futex_wake_all(const std::atomic<std::uint32_t>& word, bool shared) noexcept {
  const int op = FUTEX_WAKE | (shared ? 0 : FUTEX_PRIVATE_FLAG);
  ::syscall(SYS_futex, &word, op, INT_MAX, nullptr, nullptr, 0);
}

}  // namespace troupe::detail
