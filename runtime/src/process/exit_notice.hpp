// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/death.hpp"

#include <cstdint>
#include <optional>
#include <string>

namespace troupe::detail {

/// How a process that the library started ended, and what is known besides.
struct exit_notice {
  std::int64_t pid = 0;
  std::uint8_t kind = 0;  ///< 0: unknown, 1: exited, 2: killed by a signal
  std::int32_t value = 0;
  std::optional<resource_usage> usage;
  oom_kill out_of_memory = oom_kill::unknown;
  std::string stderr_tail;
  bool with_server = false;  ///< of an unknown end: it went with its fork server

  template <class Archive>
  void serialize(Archive& ar) {
    ar(pid, kind, value, usage, out_of_memory, stderr_tail, with_server);
  }
};
}  // namespace troupe::detail
