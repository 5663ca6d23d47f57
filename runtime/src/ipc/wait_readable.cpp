// SPDX-License-Identifier: BSD-3-Clause
#include "troupe/wait_readable.hpp"

#include "troupe/error.hpp"

#include "ipc/stream_io.hpp"
#include "os/sys.hpp"

#include <stdexcept>
#include <string>

namespace troupe::detail {

std::vector<std::size_t> wait_for_any(std::span<const waitable> things, const deadline& until) {
  std::vector<pollfd> set;
  set.reserve(things.size());
  for (const waitable& thing : things) {
    // poll(2) skips negative numbers, and a caller with one would wait for nothing.
    if (thing.native_handle() < 0) {
      throw std::invalid_argument{
          "troupe: wait_readable: " + std::to_string(thing.native_handle()) + " is no descriptor"};
    }
    set.push_back({thing.native_handle(), POLLIN, 0});
  }
  const int count = sys::poll_until(set, until);
  if (count < 0) {
    sys::fail(errc::resource_exhausted,
              "troupe: cannot wait for " + std::to_string(set.size()) + " descriptors", -count);
  }
  std::vector<std::size_t> ready;
  for (std::size_t at = 0; at < set.size() && count > 0; ++at) {
    if ((set[at].revents & POLLNVAL) != 0) {
      throw std::invalid_argument{"troupe: wait_readable: " + std::to_string(set[at].fd) +
                                  " is no open descriptor"};
    }
    if (set[at].revents != 0) {
      ready.push_back(at);
    }
  }
  return ready;
}

}  // namespace troupe::detail
