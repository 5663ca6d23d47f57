// SPDX-License-Identifier: BSD-3-Clause
#include "os/process_identity.hpp"

#include "troupe/detail/descriptor.hpp"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/types.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstring>

namespace troupe::detail {
namespace {

struct remembered_process {
  std::atomic<std::uint32_t> generation{0};
  std::atomic<std::uint64_t> identity{0};
  std::atomic<std::uint32_t> pid{0};
} process;

struct process_stat {
  char state = '?';
  long threads = 0;
  unsigned long long started = 0;
};

/// False: /proc does not say, errno tells why.
bool read_stat(long pid, process_stat& found) noexcept {
  std::array<char, 32> path{};
  std::snprintf(path.data(), path.size(), "/proc/%ld/stat", pid);
  const descriptor file{::open(path.data(), O_RDONLY | O_CLOEXEC)};
  std::array<char, 1024> text{};
  if (!file || ::read(file.number(), text.data(), text.size() - 1) <= 0) {
    return false;
  }
  // The name in parentheses may itself hold parentheses and spaces: look behind the last one.
  const char* rest = std::strrchr(text.data(), ')');
  return rest != nullptr &&
         std::sscanf(rest + 1,
                     " %c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %ld %*d "
                     "%llu",
                     &found.state, &found.threads, &found.started) == 3;
}

void remember() noexcept {
  const std::uint32_t now = fork_generation();
  const auto pid = static_cast<std::uint32_t>(::getpid());
  process_stat stat;
  // Without /proc the pid alone must do: it is compared with what other processes find there.
  static_cast<void>(read_stat(static_cast<long>(pid), stat));
  process.pid = pid;
  process.identity = std::uint64_t{pid} << 32 | (stat.started & 0xFFFF'FFFFU);
  process.generation = now;
}

}  // namespace

std::uint64_t identity_of_this_thread() noexcept {
  // The kernel knows threads by the same numbers as processes, and /proc by the same names.
  const auto thread = static_cast<std::uint32_t>(::gettid());
  process_stat stat;
  static_cast<void>(read_stat(static_cast<long>(thread), stat));
  return std::uint64_t{thread} << 32 | (stat.started & 0xFFFF'FFFFU);
}

void watch_forks() noexcept {
  static const int registered = [] {
    generation_of_forks = 1;
    return ::pthread_atfork(nullptr, nullptr, [] { generation_of_forks.fetch_add(1); });
  }();
  static_cast<void>(registered);
}

std::uint64_t own_identity() noexcept {
  if (process.generation.load() != fork_generation()) {
    remember();
  }
  return process.identity.load();
}

std::uint32_t own_pid() noexcept {
  if (process.generation.load(std::memory_order_acquire) != fork_generation()) {
    remember();
  }
  return process.pid.load(std::memory_order_relaxed);
}

void remember_thread() noexcept {
  this_thread = {.generation = fork_generation(), .id = static_cast<std::uint32_t>(::gettid())};
}

bool is_thread_of_this_process(std::uint32_t thread) noexcept {
  // Signal 0 only asks.
  return thread != 0 && ::tgkill(::getpid(), static_cast<pid_t>(thread), 0) == 0;
}

bool is_gone(std::uint64_t identity) noexcept {
  const auto pid = static_cast<long>(identity >> 32);
  if (::kill(static_cast<pid_t>(pid), 0) != 0 && errno == ESRCH) {
    return true;
  }
  process_stat stat;
  if (!read_stat(pid, stat)) {
    return ::kill(static_cast<pid_t>(pid), 0) != 0 && errno == ESRCH;
  }
  if ((stat.started & 0xFFFF'FFFFU) != (identity & 0xFFFF'FFFFU)) {
    return true;
  }
  // A zombie: all its threads are gone. With more threads only the first one has left.
  return (stat.state == 'Z' || stat.state == 'X') && stat.threads <= 1;
}

}  // namespace troupe::detail
