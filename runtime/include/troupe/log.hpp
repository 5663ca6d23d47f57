// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <cstdint>
#include <functional>
#include <string_view>

namespace troupe {

enum class log_level : std::uint8_t { debug, info, warning, error };

/// Where the library's reports go; by default warnings and errors go to stderr, a line each, and
/// the rest nowhere. The library never prints otherwise.
///
/// @threads the hook may be called from any thread, several at once. One that throws is ignored.
using log_hook = std::function<void(log_level level, std::string_view text)>;

/// Replaces the hook of this process; an empty one restores the default.
void set_log_hook(log_hook hook);

namespace detail {
void log(log_level level, std::string_view text) noexcept;
}  // namespace detail
}  // namespace troupe
