// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace census {

/// "12.35": a number with `digits` behind the point.
[[nodiscard]] std::string decimal(double number, int digits);
/// "1 234 567".
[[nodiscard]] std::string grouped(std::uint64_t number);
/// "135.2 MB", powers of 1000.
[[nodiscard]] std::string bytes_text(double bytes);
/// "00a1...": 16 hexadecimal digits.
[[nodiscard]] std::string hexadecimal(std::uint64_t number);
/// A name that stays on its line and gives a terminal no orders: control characters as \n or \x1b.
[[nodiscard]] std::string printable(std::string_view name);

}  // namespace census
