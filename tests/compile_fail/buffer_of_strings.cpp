// SPDX-License-Identifier: BSD-3-Clause
// ERROR: troupe: the elements of a buffer are trivially copyable
// NAMES: must_be_element_of_buffer<std::(__cxx11::)?basic_string<char>
#include "troupe/buffer.hpp"

#include <string>

void test() {
  const troupe::buffer<std::string> texts;
}
