// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <string>
#include <vector>

// A plugin that was linked with the static library has a copy of it beside that of the program:
// with its own variables, so that it knows nothing of the program's system.
namespace troupe::detail {

/// A file in this process that has a copy of the library.
struct library_copy {
  std::string path;         ///< of the program or of a shared library
  bool is_own = false;      ///< it is the one that was called
  bool is_program = false;  ///< it is in the program itself
};

/// All that are loaded now.
std::vector<library_copy> library_copies();

/// What to say where this copy finds no system; empty: there is no other copy.
std::string advice_on_copies();

}  // namespace troupe::detail
