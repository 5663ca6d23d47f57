// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <exception>

// What both kinds of maps say when they cannot go on.
namespace troupe::detail {

/// The time was over before the whole input was submitted.
std::exception_ptr not_submitted_in_time();
[[noreturn]] void throw_result_late();
/// Pulling the input of a map asked for a result of that map.
[[noreturn]] void throw_input_reads_map();
/// Logs why not all items ran, for a map whose results are not read; null: they did.
void log_unread(const std::exception_ptr& why) noexcept;

}  // namespace troupe::detail
