// SPDX-License-Identifier: BSD-3-Clause
#include "os/process_identity.hpp"

#include "troupe/detail/descriptor.hpp"

#include "os/failpoint.hpp"
#include "os/process_namespaces.hpp"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace troupe::detail {
namespace {

// An identity in one word, so that a slot has it by one store:
//
//   20 bits: namespaces | 22 bits: pid | 22 bits: start time
//
// Pids have 22 bits at most in Linux (PID_MAX_LIMIT). A start time in ticks of 10 ms comes again
// after half a day; a dead process is taken for a living one if its pid was given again to the tick.
constexpr unsigned pid_shift = 22;
constexpr unsigned namespaces_shift = 44;
constexpr std::uint64_t start_mask = (std::uint64_t{1} << pid_shift) - 1;
constexpr std::uint64_t pid_mask = start_mask;
constexpr std::uint32_t namespaces_mask = (std::uint32_t{1} << (64 - namespaces_shift)) - 1;

struct remembered_process {
  std::atomic<std::uint32_t> generation{0};
  std::atomic<std::uint64_t> identity{0};
  std::atomic<std::uint32_t> pid{0};
  // Those of the parent where /proc does not tell: few children get others.
  std::atomic<std::uint32_t> pid_namespace{0};
  std::atomic<std::uint32_t> namespaces{0};  // what an identity has of them; 0: not known
  std::atomic<bool> proc_is_ours{false};
} process;

struct process_stat {
  char state = '?';
  long threads = 0;
  unsigned long long started = 0;
};

/// False: /proc does not say, errno tells why.
bool read_stat(const char* path, process_stat& found) noexcept {
  const descriptor file{::open(path, O_RDONLY | O_CLOEXEC)};
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

/// 0: /proc does not say.
std::uint32_t number_of_namespace(const char* path) noexcept {
  struct stat found{};
  return ::stat(path, &found) == 0 ? static_cast<std::uint32_t>(found.st_ino) : 0;
}

/// /proc may be that of another PID namespace, where our numbers are other processes.
bool is_proc_ours() noexcept {
  std::array<char, 16> text{};
  return ::readlink("/proc/self", text.data(), text.size() - 1) > 0 &&
         std::strtol(text.data(), nullptr, 10) == static_cast<long>(::getpid());
}

void remember_namespaces() noexcept {
  process.proc_is_ours = is_proc_ours();
  const std::uint32_t pids = number_of_namespace("/proc/self/ns/pid");
  if (pids == 0) {
    return;
  }
  process.pid_namespace = pids;
  // The start times that /proc says depend on the reader's time namespace. Living namespaces of one
  // kind have numbers that follow each other, so the lower bits tell them apart.
  const std::uint32_t times = number_of_namespace("/proc/self/ns/time");
  const std::uint32_t both = (pids ^ (times * 0x9E37'79B1U)) & namespaces_mask;
  process.namespaces = both != 0 ? both : 1;
}

std::uint64_t make_identity(std::uint32_t pid, unsigned long long started) noexcept {
  return std::uint64_t{process.namespaces.load()} << namespaces_shift |
         std::uint64_t{pid} << pid_shift | (started & start_mask);
}

void remember() noexcept {
  const std::uint32_t now = fork_generation();
  const auto pid = static_cast<std::uint32_t>(::getpid());
  process_stat stat;
  remember_namespaces();
  // Without /proc the pid alone must do: it is compared with what other processes find there.
  static_cast<void>(read_stat("/proc/self/stat", stat));
  process.pid = pid;
  process.identity = make_identity(pid, stat.started);
  process.generation = now;
}

pid_t pid_of(std::uint64_t identity) noexcept {
  return static_cast<pid_t>(identity >> pid_shift & pid_mask);
}

/// There is no process or thread with the identity's number, which is one of this namespace.
bool has_no_process(std::uint64_t identity) noexcept {
  return ::kill(pid_of(identity), 0) != 0 && errno == ESRCH;
}

}  // namespace

std::uint64_t identity_of_this_thread() noexcept {
  // The kernel knows threads by the same numbers as processes, and /proc by the same names.
  const auto thread = static_cast<std::uint32_t>(::gettid());
  static_cast<void>(own_identity());
  process_stat stat;
  static_cast<void>(read_stat("/proc/thread-self/stat", stat));
  return make_identity(thread, stat.started);
}

void watch_forks() noexcept {
  static const int registered = [] {
    generation_of_forks = 1;
    return ::pthread_atfork(nullptr, nullptr, [] { generation_of_forks.fetch_add(1); });
  }();
  static_cast<void>(registered);
}

std::uint64_t own_identity() noexcept {
  if (process.generation.load() != fork_generation() || fork_generation() == 0) {
    watch_forks();
    remember();
  }
  return process.identity.load();
}

std::uint32_t own_pid() noexcept {
  static_cast<void>(own_identity());
  return process.pid.load(std::memory_order_relaxed);
}

void remember_thread() noexcept {
  static_cast<void>(own_identity());
  this_thread = {.generation = fork_generation(),
                 .id = std::uint64_t{process.pid_namespace.load()} << 32 |
                       static_cast<std::uint32_t>(::gettid())};
}

bool is_thread_of_this_process(std::uint64_t thread) noexcept {
  static_cast<void>(own_identity());
  const auto number = static_cast<pid_t>(thread & 0xFFFF'FFFFU);
  // Signal 0 only asks.
  return number != 0 && thread >> 32 == process.pid_namespace.load() &&
         ::tgkill(::getpid(), number, 0) == 0;
}

bool is_elsewhere(std::uint64_t identity) noexcept {
  static_cast<void>(own_identity());
  return identity >> namespaces_shift != process.namespaces.load();
}

bool is_stopped(std::int64_t pid) noexcept {
  static_cast<void>(own_identity());
  if (!process.proc_is_ours.load()) {
    return false;
  }
  std::array<char, 32> path{};
  std::snprintf(path.data(), path.size(), "/proc/%lld/stat", static_cast<long long>(pid));
  process_stat stat;
  return read_stat(path.data(), stat) && stat.state == 'T';
}

bool is_gone(std::uint64_t identity) noexcept {
  if (is_elsewhere(identity)) {
    return false;  // its pid is another process here, or none
  }
  if (has_no_process(identity)) {
    return true;
  }
  if (!process.proc_is_ours.load()) {
    return false;
  }
  TROUPE_FAILPOINT("identity.look");
  std::array<char, 32> path{};
  std::snprintf(path.data(), path.size(), "/proc/%ld/stat", static_cast<long>(pid_of(identity)));
  process_stat stat;
  if (!read_stat(path.data(), stat)) {
    return has_no_process(identity);
  }
  const std::uint64_t started = identity & start_mask;
  if (started != 0 && (stat.started & start_mask) != started) {
    return true;
  }
  // A zombie: all its threads are gone. With more threads only the first one has left.
  return (stat.state == 'Z' || stat.state == 'X') && stat.threads <= 1;
}

bool ended_processes::have(std::uint64_t identity) {
  if (is_elsewhere(identity)) {
    return false;
  }
  if (const auto found = known_.find(identity); found != known_.end()) {
    return found->second;
  }
  const bool is_suspect =
      reported_ == 0 || static_cast<std::uint32_t>(pid_of(identity)) == reported_;
  const bool gone = is_suspect ? is_gone(identity) : has_no_process(identity);
  known_.emplace(identity, gone);
  return gone;
}

}  // namespace troupe::detail
