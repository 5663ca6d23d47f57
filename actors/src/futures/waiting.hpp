// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/detail/future_state.hpp"

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <set>
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

/// At which futures a thread has to look that waits, again and again, for the first of several: at
/// each once before it sleeps, and once more where there is news. So the looks of all its waits
/// together grow with the number of futures, not with its square.
///
/// @threads one at a time.
class awaited_looks {
 public:
  using future = std::weak_ptr<const future_state>;
  /// Changes when a look at a future that the thread may have to run may find something else.
  struct news {
    std::uint32_t of_pool = 0;
    std::uint32_t of_futures = 0;
    bool operator==(const news&) const = default;
  };
  /// When the thread has to look at a future again that has not ended.
  enum class again : std::uint8_t { never, with_news };
  /// Nothing: the look was broken off.
  using look = std::function<std::optional<again>(const future_state&)>;

  explicit awaited_looks(std::deque<future> all) : left_{std::move(all)} {}

  /// The future has got other sources.
  void add(future changed) { left_.push_back(std::move(changed)); }
  /// Looks at what is left until a look is broken off: at that future, and at those behind it, it
  /// looks next time. `now` was read before.
  void look_at_left(const news& now, const look& at);

  /// What the thread waits for may need any task of its pool, until this has ended.
  void note_coroutine(future one) { coroutines_.insert(std::move(one)); }
  [[nodiscard]] bool has_coroutines();

 private:
  std::deque<future> left_;
  std::deque<future> with_news_;
  news seen_;
  std::set<future, std::owner_less<>> coroutines_;
};

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
