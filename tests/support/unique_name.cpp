// SPDX-License-Identifier: BSD-3-Clause
#include "support/unique_name.hpp"

#include "support/processes.hpp"

#include <unistd.h>

namespace troupe::test {
namespace {

std::string make_prefix() {
  const std::string mark = mark_of_process_tree();
  return "test-of-troupe-" + (mark.empty() ? std::to_string(::getpid()) : mark) + "-";
}

// Made before main: forked children have that of their program.
const std::string prefix = make_prefix();

}  // namespace

const std::string& unique_prefix() {
  return prefix;
}

}  // namespace troupe::test
