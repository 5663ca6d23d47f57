// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/detail/region.hpp"

#include "os/failpoint.hpp"
#include "support/eventually.hpp"
#include "support/forked.hpp"
#include "support/no_leaks.hpp"

#include <cstdint>

namespace troupe::test {

/// Tests of what processes share.
class shared_objects : public no_leaks {
 protected:
  shared_objects() {
    detail::failpoint::reset();  // the table stays for good, once it is there
    take_baseline();
  }
  ~shared_objects() override { detail::failpoint::reset(); }

  static object_info info_of(std::uint64_t id) {
    for (const object_info& one : detail::live_objects()) {
      if (one.id == id) {
        return one;
      }
    }
    return {};
  }
  /// Whether so many threads, of any processes, came to wait in operations on the object.
  template <class Handle>
  static bool come_to_wait(const Handle& object, std::uint32_t threads) {
    return eventually([&] { return info_of(object.id()).waiters == threads; });
  }
};

}  // namespace troupe::test
