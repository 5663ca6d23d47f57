// SPDX-License-Identifier: BSD-3-Clause
#include "troupe/detail/pull_iterator.hpp"

#include "troupe/error.hpp"

namespace troupe::detail {

void throw_no_element() {
  throw error{errc::no_state, task_ran::no,
              "troupe: there is no element to read here: this iterator is at the end, was "
              "default-constructed, or its range is gone"};
}

void throw_range_moved() {
  throw error{errc::no_state, task_ran::no, "troupe: this range of results was moved from"};
}

}  // namespace troupe::detail
