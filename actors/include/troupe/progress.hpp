// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <cstdint>
#include <string>

namespace troupe {

/// How far something is, in units of its own choice.
struct task_progress {
  std::uint64_t done = 0;
  std::uint64_t total = 0;  ///< 0: not known
  std::string text;
  bool operator==(const task_progress&) const = default;
};

}  // namespace troupe
