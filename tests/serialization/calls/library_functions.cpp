// SPDX-License-Identifier: BSD-3-Clause
// Built three times with another LIBRARY_FACTOR: linked, loaded while a test runs, and rebuilt.

#if LIBRARY_FACTOR == 2
#define LIBRARY_NAME linked_times
#else
#define LIBRARY_NAME loaded_times
#endif

extern "C" __attribute__((visibility("default"))) int LIBRARY_NAME(int number);

extern "C" int LIBRARY_NAME(int number) {
  return number * LIBRARY_FACTOR;
}
