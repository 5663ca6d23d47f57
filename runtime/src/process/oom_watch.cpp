// SPDX-License-Identifier: BSD-3-Clause
#include "process/oom_watch.hpp"

#include "troupe/detail/descriptor.hpp"

#include "os/sys.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <charconv>
#include <cstddef>
#include <sstream>
#include <string_view>
#include <utility>

namespace troupe::detail {
namespace {

/// Read whole and searched: it is on the way from a death to its future, and /proc/vmstat is long.
std::optional<std::uint64_t> count_in(const std::string& path) {
  constexpr std::string_view key = "oom_kill ";
  const descriptor file{path.empty() ? -1 : ::open(path.c_str(), O_RDONLY | O_CLOEXEC)};
  if (!file) {
    return std::nullopt;
  }
  std::array<char, 32768> buffer;  // not initialised: read fills what is used
  std::size_t size = 0;
  for (ssize_t got = 1; got > 0 && size < buffer.size(); size += static_cast<std::size_t>(got)) {
    got = ::read(file.number(), buffer.data() + size, buffer.size() - size);
    if (got < 0) {
      return std::nullopt;
    }
  }
  const std::string_view text{buffer.data(), size};
  for (std::size_t at = text.find(key); at != std::string_view::npos; at = text.find(key, at + 1)) {
    if (at == 0 || text[at - 1] == '\n') {
      std::uint64_t count = 0;
      const char* const number = text.data() + at + key.size();
      if (std::from_chars(number, text.data() + text.size(), count).ec == std::errc{}) {
        return count;
      }
    }
  }
  return std::nullopt;
}

/// The file that counts the OOM kills of this process's control group; empty if there is none.
std::string group_file() {
  std::istringstream in{sys::text_of("/proc/self/cgroup").value_or("")};
  std::string found;
  for (std::string line; std::getline(in, line);) {
    // "4:memory:/path" in version 1, "0::/path" in version 2. A memory controller is in one only.
    const auto first = line.find(':');
    const auto second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) {
      continue;
    }
    const std::string controllers = "," + line.substr(first + 1, second - first - 1) + ",";
    const std::string path = line.substr(second + 1);
    if (controllers.find(",memory,") != std::string::npos) {
      return "/sys/fs/cgroup/memory" + path + "/memory.oom_control";
    }
    if (controllers == ",,") {
      found = "/sys/fs/cgroup" + path + "/memory.events";
    }
  }
  return found;
}

}  // namespace

oom_watch::oom_watch() : oom_watch{group_file(), "/proc/vmstat"} {}

oom_watch::oom_watch(std::string group_file, std::string machine_file)
    : group_file_{std::move(group_file)},
      machine_file_{std::move(machine_file)},
      group_{count_in(group_file_)},
      machine_{count_in(machine_file_)} {}

oom_kill oom_watch::judge() {
  const auto group_before = std::exchange(group_, count_in(group_file_));
  const auto machine_before = std::exchange(machine_, count_in(machine_file_));
  const bool group_known = group_ && group_before;
  if (group_known && *group_ > *group_before) {
    unexplained_ += *group_ - *group_before;
  }
  if (unexplained_ > 0) {
    --unexplained_;
    return oom_kill::yes;
  }
  // The machine counts every group's kills, so without one there it was none.
  if (machine_ && machine_before) {
    return *machine_ == *machine_before ? oom_kill::no : oom_kill::unknown;
  }
  return group_known ? oom_kill::no : oom_kill::unknown;
}

}  // namespace troupe::detail
