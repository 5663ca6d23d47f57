// SPDX-License-Identifier: BSD-3-Clause
// FLAGS: -fno-exceptions
// ERROR: troupe needs exceptions: compile without -fno-exceptions
#include "troupe/troupe.hpp"

int main() {}
