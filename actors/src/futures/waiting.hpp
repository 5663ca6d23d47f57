// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/detail/future_state.hpp"

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

namespace troupe::detail {

/// Visits what a thread has to know that waits for a future: the future, and all that has to end
/// before it, each state once, nearest first, until `visit` returns true; then it returns true.
/// What is done is left out, with what led to it.
bool visit_awaited(const future_state& awaited,
                   const std::function<bool(const future_state&)>& visit);

/// `future_state::need` of the awaited one and of all that has to end before it.
void need_all_of(const future_state& awaited);

/// True: the awaited future cannot end before one of those for which `is_stuck` is true. Of a
/// future that ends with its first source, all sources have to be stuck.
bool waits_for_stuck(const future_state& awaited,
                     const std::function<bool(const future_state&)>& is_stuck);

/// A thread that is about to sleep in a task until a future ends. All of them see each other, whatever
/// their pools are: the last one of a circle finds that it would wait for itself.
class sleeping_waiter {
 public:
  using states = std::vector<const future_state*>;

  /// Notes, as long as this object lives, that the thread sleeps until `awaited` has ended, that
  /// none of `below` can end before that, and that `wake` has it look anew. The states outlive it.
  sleeping_waiter(const future_state& awaited, states below, std::function<void()> wake);
  ~sleeping_waiter();
  sleeping_waiter(const sleeping_waiter&) = delete;
  sleeping_waiter& operator=(const sleeping_waiter&) = delete;

  /// The future cannot end before one of those below, through any number of sources and of others
  /// that sleep.
  [[nodiscard]] bool waits_for_itself() const;

  /// Changes when a future has got other sources. A thread that reads it before it looks at them,
  /// and finds it changed when it is noted, looks anew.
  [[nodiscard]] static std::uint32_t news() noexcept;
  /// A future has got other sources: all that sleep look anew.
  static void tell_all();

 private:
  friend class circle_search;
  const future_state& awaited_;
  const states below_;
  const std::function<void()> wake_;
};

}  // namespace troupe::detail
