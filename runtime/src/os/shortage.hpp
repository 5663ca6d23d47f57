// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/error.hpp"

#include <string>

namespace troupe::detail {

/// The system's words for errno `number`. For those that mean "no more descriptors", also which
/// limit was hit and what to do about it.
[[nodiscard]] std::string shortage_text(int number);

/// error{resource_exhausted} whose text is `what` and `shortage_text(number)`.
[[nodiscard]] error shortage(const std::string& what, int number, task_ran ran = task_ran::no);

}  // namespace troupe::detail
