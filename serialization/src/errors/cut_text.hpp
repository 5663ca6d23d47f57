// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <algorithm>
#include <cstddef>
#include <string>
#include <string_view>

namespace troupe::detail {

/// Texts of exceptions that travel are as long at most, with the mark of what was cut off.
inline constexpr std::size_t longest_text = std::size_t{64} * 1024;

/// Cuts it to `longest` bytes, the last of which say so.
inline void cut_text(std::string& text, std::size_t longest = longest_text) {
  constexpr std::string_view mark = " ... (cut)";
  if (text.size() > longest) {
    text.resize(std::max(longest, mark.size()) - mark.size());
    text += mark;
  }
}

}  // namespace troupe::detail
