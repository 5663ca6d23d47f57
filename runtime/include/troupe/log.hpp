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
/// The hook may use the library and wait for it. A report of a thread that others wait for (the one
/// that serves sockets and deaths, and one that runs a pool's supervisor) reaches it a moment later,
/// on a thread of its own and in the order of these reports. The ends of a pool and of the system
/// wait for it.
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
/// Waits until the hook has seen all reports so far; not on a thread that others wait for, nor
/// where the hook runs.
void wait_for_log() noexcept;
}  // namespace detail
}  // namespace troupe
