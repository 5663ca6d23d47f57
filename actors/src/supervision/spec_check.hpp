// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/spec_mistake.hpp"

#include "supervision/child_spec.hpp"

#include <string>
#include <vector>

namespace troupe::detail {

/// All mistakes at once, those of the supervisor first, then child by child; none: it can start.
///
/// @follows OTP's `check_childspecs`, which stops at the first.
[[nodiscard]] std::vector<spec_mistake> check(const supervisor_rules& rules,
                                              const std::vector<child_spec>& specs);

/// The mistakes of one child that is added to others. Whether its name and those in its `after` are
/// known is for the caller to see.
[[nodiscard]] std::vector<spec_mistake> check_child(const supervisor_rules& rules,
                                                    const child_spec& spec);

/// One line for each mistake: "child 'web': text (cure)".
[[nodiscard]] std::string to_string(const std::vector<spec_mistake>& mistakes);

}  // namespace troupe::detail
