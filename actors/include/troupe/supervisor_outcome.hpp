// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/child_status.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace troupe {

/// How a supervisor ended.
enum class supervisor_end : std::uint8_t {
  stopped,        ///< as it was told
  auto_shutdown,  ///< its significant children had ended
  gave_up,        ///< over the limits of restarts
  invalid         ///< never started: `check` finds mistakes in its children
};

/// The enumerator's name, or "unknown".
[[nodiscard]] std::string_view to_string(supervisor_end how) noexcept;

/// The end of a supervisor, as `supervisor::wait` returns it.
struct supervisor_outcome {
  supervisor_end how = supervisor_end::stopped;  ///< for programs
  std::string child;                 ///< whose end was one too many, or was significant; or empty
  std::optional<child_death> death;  ///< how that child ended
  std::string text;                  ///< all of it for people, one line
  /// It ended as it should: not because it gave up, and it could be started.
  [[nodiscard]] bool ok() const noexcept {
    return how == supervisor_end::stopped || how == supervisor_end::auto_shutdown;
  }
  /// For main to return, and so for a service manager or a container: 0 if `ok`, 1 if it gave up, 2
  /// if it was never started.
  [[nodiscard]] int exit_code() const noexcept {
    return ok() ? 0 : how == supervisor_end::gave_up ? 1 : 2;
  }
};

}  // namespace troupe
