// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/system.hpp"

namespace troupe::test {

/// The troupe::system of this test program.
[[nodiscard]] system& program_system();

}  // namespace troupe::test
