// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>

namespace census {

/// What the command line says.
struct options {
  std::string directory{};
  int workers = 0;
  bool chaos = false;
  std::uint64_t seed = 0;
  bool help = false;
};

/// The command line is wrong; what() is one line for the user.
class bad_usage : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// @throws bad_usage.
[[nodiscard]] options parse(std::span<char* const> arguments);

extern const char* const help_text;

}  // namespace census
