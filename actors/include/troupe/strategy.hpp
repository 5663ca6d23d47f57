// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/detail/clock.hpp"

#include <cstdint>

namespace troupe {

/// Which children a supervisor starts again when one has died.
///
/// @follows OTP's supervisor. "Rest" are the children that were started later.
enum class strategy : std::uint8_t {
  one_for_one,  ///< that one
  one_for_all,  ///< all: the others are stopped in reverse order, then all are started in order
  rest_for_one  ///< that one and the rest
};

/// Whether a child that has ended is started again.
///
/// @follows OTP's child specifications.
enum class restart : std::uint8_t {
  permanent,  ///< always
  transient,  ///< unless it ended with success
  temporary   ///< never; its supervisor forgets it
};

/// Whether a supervisor stops when a significant child has ended by itself for good.
///
/// @follows OTP's supervisor.
enum class auto_shutdown : std::uint8_t {
  never,  ///< significant children are not allowed
  any,    ///< when one has
  all     ///< when the last one has
};

/// For `.shutdown`: the child is killed without being asked first.
inline constexpr std::chrono::milliseconds brutal_kill{0};
/// For `.shutdown` and `.start_timeout`: there is no limit.
inline constexpr std::chrono::milliseconds no_limit = std::chrono::milliseconds::max();

}  // namespace troupe
