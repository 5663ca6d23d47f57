// SPDX-License-Identifier: BSD-3-Clause
// FLAGS: -std=c++17
// ERROR: troupe needs C\+\+20: compile with -std=c\+\+20
#include "troupe/troupe.hpp"

int main() {}
