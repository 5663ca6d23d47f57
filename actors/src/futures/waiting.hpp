// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/detail/future_state.hpp"

#include <functional>
#include <memory>

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

}  // namespace troupe::detail
