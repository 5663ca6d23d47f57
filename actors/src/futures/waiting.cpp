// SPDX-License-Identifier: BSD-3-Clause
#include "futures/waiting.hpp"

#include "base/fork_safety.hpp"

#include <atomic>
#include <deque>
#include <iterator>
#include <mutex>
#include <unordered_map>
#include <unordered_set>
#include <utility>

namespace troupe::detail {

namespace {

/// Those that sleep now, and by what cannot end meanwhile.
struct all_sleepers {
  fork_safe_mutex mutex;
  std::unordered_set<const sleeping_waiter*> all;
  std::unordered_multimap<const future_state*, const sleeping_waiter*> by_state;
  std::atomic<std::uint32_t> news{0};
};

all_sleepers& sleepers() {
  static auto* const one = new all_sleepers;
  return *one;
}
[[maybe_unused]] const all_sleepers& made_before_main = sleepers();

}  // namespace

/// Looks whether a future can end before a thread goes on that sleeps. Used with the lock of
/// `sleepers`, and destroyed without it: what it has visited is kept, because destroying a future
/// runs code of the user.
class circle_search {
 public:
  explicit circle_search(const sleeping_waiter& self) : self_{self} {}

  bool finds_a_circle() { return leads_back(self_.awaited_); }

 private:
  using state_ptr = std::shared_ptr<future_state>;

  bool leads_back(const future_state& awaited) {
    if (awaited.done()) {
      return false;
    }
    if (!awaited.ends_with_first_source()) {
      return has_to_end_after_self(awaited);
    }
    bool found = false;
    const bool one_may_end = awaited.any_source([&](const state_ptr& source) {
      kept_.push_back(source);
      if (source->done() || !has_to_end_after_self(*source)) {
        return true;
      }
      found = true;
      return false;
    });
    return found && !one_may_end;
  }

  /// It, or one of all that has to end before it, is below a thread of the circle.
  bool has_to_end_after_self(const future_state& awaited) {
    if (is_below(awaited)) {
      return true;
    }
    std::unordered_set<const future_state*> seen;
    std::vector<state_ptr> left;
    const auto collect = [&](const future_state& from) {
      from.any_source([&](const state_ptr& source) {
        kept_.push_back(source);
        if (!source->done() && seen.insert(source.get()).second) {
          left.push_back(source);
        }
        return false;
      });
    };
    collect(awaited);
    while (!left.empty()) {
      const state_ptr next = std::move(left.back());
      left.pop_back();
      if (is_below(*next)) {
        return true;
      }
      collect(*next);
    }
    return false;
  }

  bool is_below(const future_state& state) {
    const auto [first, last] = sleepers().by_state.equal_range(&state);
    for (auto one = first; one != last; ++one) {
      const sleeping_waiter* const found = one->second;
      if (found == &self_) {
        return true;
      }
      // Threads that wait for each other without this one were told so themselves.
      const auto [known, is_new] = answers_.try_emplace(found, false);
      if (is_new && leads_back(found->awaited_)) {
        answers_[found] = true;
      }
      if (answers_[found]) {
        return true;
      }
    }
    return false;
  }

  const sleeping_waiter& self_;
  std::unordered_map<const sleeping_waiter*, bool> answers_;
  std::vector<state_ptr> kept_;
};

sleeping_waiter::sleeping_waiter(const future_state& awaited, states below,
                                 std::function<void()> wake)
    : awaited_{awaited}, below_{std::move(below)}, wake_{std::move(wake)} {
  const std::lock_guard lock{sleepers().mutex};
  sleepers().all.insert(this);
  for (const future_state* const each : below_) {
    sleepers().by_state.emplace(each, this);
  }
}

sleeping_waiter::~sleeping_waiter() {
  const std::lock_guard lock{sleepers().mutex};
  sleepers().all.erase(this);
  for (const future_state* const each : below_) {
    const auto [first, last] = sleepers().by_state.equal_range(each);
    for (auto one = first; one != last; ++one) {
      if (one->second == this) {
        sleepers().by_state.erase(one);
        break;
      }
    }
  }
}

std::uint32_t sleeping_waiter::news() noexcept {
  return sleepers().news.load();
}

void sleeping_waiter::tell_all() {
  sleepers().news.fetch_add(1);
  std::vector<std::function<void()>> to_wake;
  {
    const std::lock_guard lock{sleepers().mutex};
    for (const sleeping_waiter* const each : sleepers().all) {
      to_wake.push_back(each->wake_);
    }
  }
  for (const auto& wake : to_wake) {
    wake();
  }
}

bool sleeping_waiter::waits_for_itself() const {
  circle_search search{*this};
  const std::lock_guard lock{sleepers().mutex};
  return search.finds_a_circle();
}

void awaited_looks::look_at_left(const news& now, const look& at) {
  if (now != seen_) {
    seen_ = now;
    left_.insert(left_.begin(), std::make_move_iterator(with_news_.begin()),
                 std::make_move_iterator(with_news_.end()));
    with_news_.clear();
  }
  while (!left_.empty()) {
    if (const auto one = left_.front().lock(); one && !one->done()) {
      const auto found = at(*one);
      if (!found) {
        return;
      }
      if (*found == again::with_news) {
        with_news_.push_back(one);
      }
    }
    left_.pop_front();
  }
}

bool awaited_looks::has_coroutines() {
  while (!coroutines_.empty()) {
    const auto one = coroutines_.begin()->lock();
    if (one && !one->done()) {
      return true;
    }
    coroutines_.erase(coroutines_.begin());
  }
  return false;
}

bool visit_awaited(const future_state& awaited,
                   const std::function<bool(const future_state&)>& visit) {
  if (awaited.done()) {
    return false;
  }
  if (visit(awaited)) {
    return true;
  }
  // Most futures have no sources: nothing is allocated for them.
  std::deque<std::shared_ptr<future_state>> left;
  std::unordered_set<const future_state*> seen;
  const auto look_at = [&](const future_state& state) {
    return state.any_source([&](const std::shared_ptr<future_state>& source) {
      if (source->done() || !seen.insert(source.get()).second) {
        return false;
      }
      if (visit(*source)) {
        return true;
      }
      left.push_back(source);
      return false;
    });
  };
  if (look_at(awaited)) {
    return true;
  }
  while (!left.empty()) {
    const std::shared_ptr<future_state> next = std::move(left.front());
    left.pop_front();
    if (!next->done() && look_at(*next)) {
      return true;
    }
  }
  return false;
}

void need_all_of(const future_state& awaited) {
  visit_awaited(awaited, [](const future_state& state) {
    state.need();
    return false;
  });
}

bool waits_for_stuck(const future_state& awaited,
                     const std::function<bool(const future_state&)>& is_stuck) {
  if (!awaited.ends_with_first_source()) {
    return visit_awaited(awaited, is_stuck);
  }
  bool found = false;
  const bool one_may_end = awaited.any_source([&](const std::shared_ptr<future_state>& source) {
    if (source->done() || !waits_for_stuck(*source, is_stuck)) {
      return true;
    }
    found = true;
    return false;
  });
  return found && !one_may_end;
}

}  // namespace troupe::detail
