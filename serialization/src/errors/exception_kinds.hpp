// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/error.hpp"

#include <cstddef>
#include <string>
#include <string_view>

// What capturing an exception and making it again have in common.
namespace troupe::detail {

inline constexpr std::size_t most_causes = 16;

/// The standard exception with that name, `none` if it is that of another type.
[[nodiscard]] standard_exception kind_of_exception(const std::string& type);

/// What the text of a failure of this stage begins with; empty for all other codes.
[[nodiscard]] std::string_view stage_text(errc code);

}  // namespace troupe::detail
