// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/callable.hpp"
#include "troupe/detail/clock.hpp"
#include "troupe/detail/region.hpp"
#include "troupe/error.hpp"

#include <cstddef>
#include <utility>

namespace troupe {

/// Lets a number of threads of any processes wait for each other, again and again.
///
/// Copies of it are the same barrier; what holds for every handle is told at object_kind.
///
/// @follows Python's Barrier: a wait that ends before all parties have come breaks it for all of
///   them, until `reset()`. Unlike std::barrier it has a timeout and gives each party a number.
/// @threads any; each thread that waits is one party.
/// @crosses the same barrier at both ends, with its action.
/// @worker_dies while it waits: its arrival is withdrawn, and the others wait for another party
///   instead. In the action: the barrier is broken, because it is not known what the action did.
/// @throws what every handle throws, see object_kind.
class barrier : public detail::object_handle {
 public:
  /// A barrier for one party: something to assign to, or to decode into.
  ///
  /// @throws error{resource_exhausted}.
  barrier();
  /// A barrier for `parties` threads. The action, if there is one, is called once for each time all
  /// have come, before any of them goes on, in the thread that came last. If it throws, the barrier
  /// breaks, and that thread gets the exception.
  ///
  /// @throws std::invalid_argument unless `parties` is positive; error{resource_exhausted}.
  explicit barrier(std::ptrdiff_t parties, bound_call action = {},
                   const object_options& options = {});

  /// Comes to the barrier and waits for the others.
  ///
  /// @returns a number from 0 to `parties() - 1`, another one for each of them.
  /// @blocks until all parties have come, and the action is done.
  /// @throws broken_barrier; what the action throws.
  std::size_t arrive_and_wait() const { return arrive(std::nullopt); }
  /// As arrive_and_wait, for a limited time: a timeout breaks the barrier for all parties.
  ///
  /// @returns as arrive_and_wait.
  /// @blocks for at most `timeout`; once all have come, until the action is done. Zero or less: not
  ///   unless this is the last party.
  /// @throws broken_barrier, also when the time is over; what the action throws.
  template <class Rep, class Period>
  std::size_t arrive_and_wait_for(const std::chrono::duration<Rep, Period>& timeout) const {
    return arrive(detail::deadline_after(timeout));
  }

  /// Breaks it: threads that wait, and those that come, get broken_barrier until `reset()`.
  void abort() const;
  /// Makes it as new; threads that wait get broken_barrier.
  void reset() const;

  /// How many threads wait for each other; never changes.
  [[nodiscard]] std::size_t parties() const;
  /// How many had come and were waiting, a moment ago.
  [[nodiscard]] std::size_t waiting() const;
  /// It is broken, and throws until `reset()`.
  [[nodiscard]] bool broken() const;

  /// The same barrier.
  [[nodiscard]] bool operator==(const barrier& other) const noexcept { return same(other); }
  /// @{
  /// How the codec writes and reads a handle.
  void save(output_archive& ar) const {
    save_handle(ar);
    ar(action_);
  }
  void load(input_archive& ar);
  /// @}

 private:
  std::size_t arrive(const detail::deadline& until) const;

  bound_call action_;
};

}  // namespace troupe
