// SPDX-License-Identifier: BSD-3-Clause
// ERROR: troupe: only trivially copyable types can be shared
// NAMES: must_be_shareable<std::(__cxx11::)?basic_string<char>
#include "troupe/value.hpp"

#include <string>

void test() {
  const troupe::value<std::string> text;
}
