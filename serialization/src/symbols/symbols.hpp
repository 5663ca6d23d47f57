// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/death.hpp"

#include <span>
#include <string>
#include <vector>

namespace troupe::detail {

/// One line for each location: "function(int) at file.cpp:12 (module+0x3f)", without what is not
/// known. Names come only from the build that ran: from its file, or from the same build in this
/// process, even if the file was deleted. Never fails: at worst it says module and offset.
[[nodiscard]] std::vector<std::string> describe_code(std::span<const code_location> where);

/// "a(int)" of "_Z1ai", in the words people write; anything else stays as it is.
[[nodiscard]] std::string demangled(const char* name);

}  // namespace troupe::detail
