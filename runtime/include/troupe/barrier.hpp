// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/callable.hpp"
#include "troupe/detail/region.hpp"
#include "troupe/error.hpp"

#include <chrono>
#include <cstddef>
#include <utility>

namespace troupe {

/// Lets a number of threads of any processes wait for each other, again and again.
///
/// Copies of it are the same barrier.
///
/// @follows Python's Barrier: a wait that ends before all have come breaks it for everybody, until
///   `reset()`. Unlike std::barrier it has a timeout and tells everybody apart.
/// @crosses the same barrier at both ends, with its action. A waiting process dies: its arrival is
///   withdrawn, the others wait for somebody else instead. A process dies in the action: the
///   barrier is broken, as nobody knows what the action did.
class barrier : public detail::object_handle {
 public:
  /// For one party: something to assign to, or to decode into.
  barrier();
  /// The action, if there is one, is called once for each time all have come, before anybody goes
  /// on, in the thread that came last. If it throws, the barrier breaks, and that thread gets the
  /// exception.
  ///
  /// @throws std::invalid_argument unless `parties` is positive; error{resource_exhausted}.
  explicit barrier(std::ptrdiff_t parties, bound_call action = {},
                   const object_options& options = {});

  /// @blocks until all parties have come. Returns a number from 0 to `parties() - 1`, another one
  ///   for each of them.
  /// @throws broken_barrier; what the action throws.
  std::size_t arrive_and_wait() { return arrive(std::nullopt); }
  /// @blocks for at most `timeout`; then it breaks the barrier and throws broken_barrier. Zero or
  ///   less: unless all the others are there already.
  template <class Rep, class Period>
  std::size_t arrive_and_wait_for(const std::chrono::duration<Rep, Period>& timeout) {
    return arrive(detail::deadline_after(timeout));
  }

  /// Breaks it: those who wait, and those who come, get broken_barrier until `reset()`.
  void abort();
  /// As new; who waits gets broken_barrier.
  void reset();

  [[nodiscard]] std::size_t parties() const;
  /// How many have come and wait, a moment ago.
  [[nodiscard]] std::size_t waiting() const;
  [[nodiscard]] bool broken() const;

  [[nodiscard]] bool operator==(const barrier& other) const noexcept { return same(other); }
  void save(output_archive& ar) const {
    save_handle(ar);
    ar(action_);
  }
  void load(input_archive& ar);

 private:
  std::size_t arrive(const detail::deadline& until);

  bound_call action_;
};

}  // namespace troupe
