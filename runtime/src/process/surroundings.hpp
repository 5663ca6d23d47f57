// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/detail/descriptor.hpp"

#include <span>
#include <string>
#include <vector>

namespace troupe::detail {

/// The directory that this process is in, for fchdir alone. None, with errno, if it cannot be
/// opened.
[[nodiscard]] descriptor current_directory() noexcept;

/// -1 if it cannot be read: without /proc there is no way that leaves it as it is.
[[nodiscard]] int current_umask();

/// The variables of this process ("NAME=value"), each ended by a zero. Other threads may change the
/// environment meanwhile, as setenv does: what they change is in it or is not.
///
/// @threads any.
[[nodiscard]] std::string current_environment();

/// The pointers of an environment whose text, of that form, is `text`; the last one is null.
[[nodiscard]] std::vector<char*> environment_pointers(std::span<char> text);

}  // namespace troupe::detail
