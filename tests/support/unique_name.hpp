// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <string>

namespace troupe::test {

/// What the names begin with that this test program and all processes which it starts give to
/// things in common folders (/dev/shm). No other running program has it. It does not begin with
/// "troupe", as names do that the library chose: leak_check counts those of any program, and of
/// these only the own ones.
[[nodiscard]] const std::string& unique_prefix();

/// A name that no other test program has.
[[nodiscard]] inline std::string unique_name(const std::string& what) {
  return unique_prefix() + what;
}

}  // namespace troupe::test
