// SPDX-License-Identifier: BSD-3-Clause
// A plugin that was linked with the static library, as the program is that loads it.
#include "troupe/pool.hpp"
#include "troupe/system.hpp"

#include <cstring>

namespace {
int say(const troupe::error& refused, char* text, std::size_t bytes) {
  std::strncpy(text, refused.what(), bytes - 1);
  text[bytes - 1] = '\0';
  return static_cast<int>(refused.code());
}
}  // namespace

extern "C" {
/// The code of the error, whose text is written to `text`; 0: there was none.
[[gnu::visibility("default")]] int make_a_pool(char* text, std::size_t bytes) {
  try {
    const troupe::pool made;
    return 0;
  } catch (const troupe::error& refused) {
    return say(refused, text, bytes);
  }
}
[[gnu::visibility("default")]] int make_a_system(int argc, char** argv, char* text,
                                                 std::size_t bytes) {
  try {
    const troupe::system made{argc, argv};
    return 0;
  } catch (const troupe::error& refused) {
    return say(refused, text, bytes);
  }
}
}
