// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <stdio_ext.h>

#include <cstdio>
#include <iostream>

namespace troupe::detail {

/// What tasks printed becomes visible, and is not lost when this process is killed: before a task's
/// outcome is told, and before this process sleeps or leaves.
inline void flush_output() {
  if (::__fpending(stdout) > 0) {
    std::fflush(stdout);
  }
  std::cout.flush();
}

}  // namespace troupe::detail
