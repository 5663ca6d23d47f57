// SPDX-License-Identifier: BSD-3-Clause
#include "futures/waiting.hpp"

#include <deque>
#include <unordered_set>

namespace troupe::detail {

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
