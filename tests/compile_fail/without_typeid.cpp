// SPDX-License-Identifier: BSD-3-Clause
// FLAGS: -fno-rtti
// ERROR: troupe needs typeid: compile without -fno-rtti
#include "troupe/troupe.hpp"

int main() {}
