// SPDX-License-Identifier: BSD-3-Clause
// The library that is upgraded in upgrade_test. Built twice: with UPGRADED it has a function that
// the other has not, in the place of one that it has.
#include <cstdlib>

extern "C" int library_works(int number) {
  return number + 1;
}
#ifdef UPGRADED
extern "C" int never_ran_in_library(int number) {
  volatile int sum = number;
  for (int i = 0; i < 50; ++i) {
    sum = sum * 3 + i;
    sum = sum * 5 + i;
    sum = sum * 7 + i;
    sum = sum * 11 + i;
  }
  return sum;
}
#endif
extern "C" int library_crash(int number) {
  *reinterpret_cast<volatile int*>(16) = number;  // NOLINT(performance-no-int-to-ptr)
  return number;
}
