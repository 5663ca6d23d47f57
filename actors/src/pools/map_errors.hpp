// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <exception>

// The errors that maps of all kinds of pools throw.
namespace troupe::detail {

/// The deadline passed before the whole input was submitted.
std::exception_ptr not_submitted_in_time();
[[noreturn]] void throw_result_late();
/// Pulling the input of a map asked for a result of that map.
[[noreturn]] void throw_input_reads_map();
/// Logs why not all items of a map ran whose results are not read; null: all ran, logs nothing.
void log_unread(const std::exception_ptr& why) noexcept;

}  // namespace troupe::detail
