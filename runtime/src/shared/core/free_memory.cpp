// SPDX-License-Identifier: BSD-3-Clause
#include "shared/core/free_memory.hpp"

#include "os/failpoint.hpp"
#include "os/sys.hpp"

#include <algorithm>
#include <cstdlib>
#include <limits>
#include <sstream>
#include <string>

namespace troupe::detail {
namespace {

constexpr std::uint64_t unlimited = std::numeric_limits<std::uint64_t>::max();

/// What /proc/meminfo says is available, swap included.
std::uint64_t by_the_machine() {
  std::istringstream file{sys::text_of("/proc/meminfo").value_or("")};
  std::uint64_t kib = 0;
  bool known = false;
  for (std::string line; std::getline(file, line);) {
    for (const char* name : {"MemAvailable:", "SwapFree:"}) {
      if (line.rfind(name, 0) == 0) {
        kib += std::strtoull(line.c_str() + std::char_traits<char>::length(name), nullptr, 10);
        known = true;
      }
    }
  }
  return known ? kib * 1024 : unlimited;
}

/// What one control group has left; files that are missing or say "max" set no limit.
std::uint64_t left_in(const std::string& folder, const char* limit_name, const char* used_name) {
  std::uint64_t limit = 0;
  std::uint64_t used = 0;
  std::istringstream limit_file{sys::text_of(folder + limit_name).value_or("")};
  std::istringstream used_file{sys::text_of(folder + used_name).value_or("")};
  if (!(limit_file >> limit) || !(used_file >> used)) {
    return unlimited;
  }
  return limit - std::min(limit, used);
}

std::uint64_t by_the_control_groups() {
  std::istringstream file{sys::text_of("/proc/self/cgroup").value_or("")};
  std::uint64_t least = unlimited;
  for (std::string line; std::getline(file, line);) {
    const auto first = line.find(':');
    const auto second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) {
      continue;
    }
    const bool v2 = second == first + 1;
    if (!v2 && line.substr(first + 1, second - first - 1) != "memory") {
      continue;
    }
    const std::string root = v2 ? "/sys/fs/cgroup" : "/sys/fs/cgroup/memory";
    for (std::string path = line.substr(second + 1);;) {
      least = std::min(
          least, v2 ? left_in(root + path, "/memory.max", "/memory.current")
                    : left_in(root + path, "/memory.limit_in_bytes", "/memory.usage_in_bytes"));
      const auto slash = path.find_last_of('/');
      if (path.empty() || slash == std::string::npos) {
        break;
      }
      path.resize(slash);
    }
  }
  return least;
}

}  // namespace

std::uint64_t free_memory_bytes() {
  if (TROUPE_FAILPOINT_ERRNO("memory.free") != 0) {
    return 0;
  }
  return std::min(by_the_machine(), by_the_control_groups());
}

}  // namespace troupe::detail
