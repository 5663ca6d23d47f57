// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/detail/requirements.hpp"

#include <cstdint>
#include <functional>
#include <string_view>

namespace troupe {

/// How much a report matters.
enum class log_level : std::uint8_t {
  debug,    ///< for the developers of the library
  info,     ///< what happens as it should: a client that was dropped
  warning,  ///< what the operator should look at: something is lost or done without
  error     ///< what does not work
};

/// Where the library's reports go; by default warnings and errors go to stderr, a line each, and
/// the rest nowhere. The library never prints otherwise.
///
/// @threads any, several at once. What the hook throws is ignored.
using log_hook = std::function<void(log_level level, std::string_view text)>;

/// Replaces the hook of this process; an empty one restores the default. A call of the old one may
/// still be under way when this returns.
///
/// @threads any.
void set_log_hook(log_hook hook);

namespace detail {
void log(log_level level, std::string_view text) noexcept;
}  // namespace detail
}  // namespace troupe
