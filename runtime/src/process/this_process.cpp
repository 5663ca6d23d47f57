// SPDX-License-Identifier: BSD-3-Clause
#include "troupe/this_process.hpp"

#include "troupe/detail/descriptor.hpp"
#include "troupe/start_method.hpp"

#include "os/spin.hpp"
#include "os/sys.hpp"
#include "process/identity.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <sstream>
#include <string_view>
#include <utility>

namespace troupe {
namespace {

std::atomic<std::uint64_t> own_worker_id{0};
std::atomic<start_method> default_method{start_method::forkserver};

/// What `become_process` said; never destroyed.
struct process_identity {
  std::string name;
  bool daemon = false;
  parent_process parent;
};
std::atomic<const process_identity*> own_identity{nullptr};

int affinity_cpus() {
  // The kernel refuses a mask smaller than its own; grow until it fits.
  for (int cpus = 1024; cpus <= 1024 * 1024; cpus *= 2) {
    cpu_set_t* set = CPU_ALLOC(static_cast<std::size_t>(cpus));
    if (set == nullptr) {
      break;
    }
    const std::size_t size = CPU_ALLOC_SIZE(static_cast<std::size_t>(cpus));
    const int found = ::sched_getaffinity(0, size, set) == 0 ? CPU_COUNT_S(size, set) : 0;
    CPU_FREE(set);
    if (found > 0) {
      return found;
    }
  }
  return std::max(1, static_cast<int>(::sysconf(_SC_NPROCESSORS_ONLN)));
}

/// The path of this process in the cgroup hierarchy of `controller` ("" is v2), "" when unknown.
std::string cgroup_path(std::string_view controller) {
  std::istringstream file{sys::text_of("/proc/self/cgroup").value_or("")};
  for (std::string line; std::getline(file, line);) {
    const auto first = line.find(':');
    const auto second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) {
      continue;
    }
    const std::string list = "," + line.substr(first + 1, second - first - 1) + ",";
    if (controller.empty() ? list == ",,"
                           : list.find("," + std::string{controller} + ",") != std::string::npos) {
      return line.substr(second + 1);
    }
  }
  return {};
}

/// CPUs that the cgroup's quota allows, 0 when there is none.
double quota_cpus() {
  double least = 0;
  const auto consider = [&least](double quota, double period) {
    if (quota > 0 && period > 0) {
      least = least > 0 ? std::min(least, quota / period) : quota / period;
    }
  };
  const auto walk = [](const std::string& root, std::string path, auto&& visit) {
    for (;;) {
      visit(root + path);
      const auto slash = path.find_last_of('/');
      if (path.empty() || slash == std::string::npos) {
        return;
      }
      path.resize(slash);
    }
  };
  walk("/sys/fs/cgroup", cgroup_path(""), [&](const std::string& folder) {
    std::istringstream file{sys::text_of(folder + "/cpu.max").value_or("")};
    double quota = 0;
    double period = 0;
    if (file >> quota >> period) {  // "max 100000" fails to parse, and means no quota
      consider(quota, period);
    }
  });
  walk("/sys/fs/cgroup/cpu", cgroup_path("cpu"), [&](const std::string& folder) {
    std::istringstream quota_file{sys::text_of(folder + "/cpu.cfs_quota_us").value_or("")};
    std::istringstream period_file{sys::text_of(folder + "/cpu.cfs_period_us").value_or("")};
    double quota = 0;
    double period = 0;
    if (quota_file >> quota && period_file >> period) {
      consider(quota, period);
    }
  });
  return least;
}

}  // namespace

int usable_cpus() {
  if (const char* text = ::secure_getenv("TROUPE_CPUS")) {
    const std::string_view view{text};
    int number = 0;
    const auto [end, code] = std::from_chars(view.data(), view.data() + view.size(), number);
    if (code == std::errc{} && end == view.data() + view.size() && number >= 1) {
      return number;
    }
  }
  const int affinity = affinity_cpus();
  const double quota = quota_cpus();
  return quota > 0 ? std::clamp(static_cast<int>(std::ceil(quota)), 1, affinity) : affinity;
}

parent_process::parent_process(std::int64_t pid, std::string name,
                               std::shared_ptr<const detail::descriptor> sentinel)
    : pid_{pid}, name_{std::move(name)}, sentinel_{std::move(sentinel)} {}

bool parent_process::is_alive() const {
  return !join_for(std::chrono::nanoseconds{0});
}
int parent_process::sentinel() const noexcept {
  return sentinel_ ? sentinel_->number() : -1;
}
bool parent_process::wait(const detail::deadline& until) const {
  pollfd parent{sentinel(), POLLIN, 0};
  for (;;) {
    timespec left{};
    if (until) {
      const auto rest = std::max(std::chrono::nanoseconds{0},
                                 std::chrono::duration_cast<std::chrono::nanoseconds>(
                                     *until - std::chrono::steady_clock::now()));
      left.tv_sec = static_cast<time_t>(rest.count() / 1'000'000'000);
      left.tv_nsec = static_cast<long>(rest.count() % 1'000'000'000);
    }
    const int ready = ::ppoll(&parent, 1, until ? &left : nullptr, nullptr);
    if (ready >= 0 || errno != EINTR) {
      return ready > 0;
    }
  }
}

namespace this_process {

std::int64_t pid() noexcept {
  return ::getpid();
}
std::uint64_t worker_id() noexcept {
  return own_worker_id.load(std::memory_order_relaxed);
}
bool is_worker() noexcept {
  return worker_id() != 0 && own_identity.load() == nullptr;
}
std::string name() {
  if (const auto* const mine = own_identity.load()) {
    return mine->name;
  }
  return is_worker() ? "troupe-w" + std::to_string(worker_id()) : std::string{"main"};
}
bool is_daemon() noexcept {
  const auto* const mine = own_identity.load();
  return mine != nullptr && mine->daemon;
}
std::optional<parent_process> parent() {
  const auto* const mine = own_identity.load();
  return mine != nullptr ? std::optional{mine->parent} : std::nullopt;
}

}  // namespace this_process

namespace detail {
std::uint64_t resident_bytes(std::int64_t pid) noexcept {
  // "size resident shared ...", in pages.
  char path[32];
  std::snprintf(path, sizeof path, "/proc/%lld/statm", static_cast<long long>(pid));
  const descriptor file{::open(path, O_RDONLY | O_CLOEXEC)};
  char text[128] = {};
  const ssize_t got = ::read(file.number(), text, sizeof text - 1);
  unsigned long long pages = 0;
  return got > 0 && std::sscanf(text, "%*u %llu", &pages) == 1
             ? pages * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE))
             : 0;
}

bool spinning_helps() noexcept {
  // Not before main: reading the quota is twenty system calls, and many processes never wait. Not a
  // static of this function: a process that is forked during the first use would wait for its end.
  enum : int { unknown, one, several };
  static constinit std::atomic<int> cpus{unknown};
  int known = cpus.load(std::memory_order_relaxed);
  if (known == unknown) {
    try {
      known = usable_cpus() > 1 ? several : one;
    } catch (const std::exception&) {
      return false;  // no memory for looking; perhaps next time
    }
    cpus.store(known, std::memory_order_relaxed);
  }
  return known == several;
}

void adopt_start_method(std::uint64_t method) noexcept {
  if (method <= static_cast<std::uint64_t>(start_method::fork)) {
    default_method = static_cast<start_method>(method);
  }
}

void set_worker_id(std::uint64_t id) noexcept {
  own_worker_id.store(id);
  own_identity.store(nullptr);  // of the process that this one was forked from
}

void become_process(std::string name, bool daemon, parent_process parent) {
  own_identity.store(new process_identity{std::move(name), daemon, std::move(parent)});
}
}  // namespace detail

std::string_view to_string(start_method method) noexcept {
  switch (method) {
    case start_method::forkserver:
      return "forkserver";
    case start_method::spawn:
      return "spawn";
    case start_method::fork:
      return "fork";
  }
  return "unknown";
}

void set_start_method(start_method method) noexcept {
  default_method = method;
}
start_method get_start_method() noexcept {
  return default_method;
}

}  // namespace troupe
