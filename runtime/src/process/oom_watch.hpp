// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/death.hpp"

#include <cstdint>
#include <optional>
#include <string>

namespace troupe::detail {

/// Tells whether the OOM killer ended a process that died of SIGKILL, by the kernel's counters: of
/// the control group this process and its workers are in, and of the whole machine.
///
/// Each counted kill explains one death. A kill in the group that hit no worker may be taken for
/// the next SIGKILL of one; the counters name no process.
///
/// @threads one at a time.
class oom_watch {
 public:
  /// Watches this process's control group, version 1 or 2.
  oom_watch();
  /// Watches files with a line "oom_kill N". One that cannot be read is not known.
  oom_watch(std::string group_file, std::string machine_file);

  /// Judges a process that just died of a SIGKILL that this program did not send.
  [[nodiscard]] oom_kill judge();

 private:
  std::string group_file_;
  std::string machine_file_;
  std::optional<std::uint64_t> group_;
  std::optional<std::uint64_t> machine_;
  std::uint64_t unexplained_ = 0;  ///< kills counted in the group that no death was seen for yet
};

}  // namespace troupe::detail
