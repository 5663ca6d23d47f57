// SPDX-License-Identifier: BSD-3-Clause
#include "pools/thread/thread_core_impl.hpp"

#include <algorithm>
#include <utility>

namespace troupe::detail {

thread_group::~thread_group() = default;
thread_input::~thread_input() = default;

thread_submission::thread_submission(engine_ptr owner, const options_ptr& how)
    : owner_{std::static_pointer_cast<thread_core>(std::move(owner))},
      options_{how.get()},
      kept_options_{how == owner_->task_defaults() ? nullptr : how} {}
thread_submission::~thread_submission() = default;

void thread_submission::each_value(const std::function<void(std::span<const std::byte>)>&) const {}

bool thread_submission::cancel(bool force) {
  return owner_->cancel(*this, force);
}

bool thread_submission::running() const {
  return !done() && next_.load() != 0;
}

future_state::executor thread_submission::callbacks() const {
  return [core = owner_](std::function<void()> function) {
    core->callbacks()->run(std::move(function));
  };
}

std::exception_ptr thread_submission::original() const {
  // Sorted when the last item ended: the first failure in input order.
  return rare_ && !rare_->ends.empty() ? rare_->ends.front().thrown : nullptr;
}

void thread_submission::set_count(std::uint32_t count) {
  count_ = count;
  left_ = count;
  if (count > 1) {
    decided_many_ = std::make_unique<std::atomic<bool>[]>(count);
  }
}

bool thread_submission::claim_outcome(std::uint32_t item) noexcept {
  return !(decided_many_ ? decided_many_[item] : decided_one_).exchange(true);
}

void thread_submission::begin(std::uint32_t, const std::shared_ptr<local_run>&) {}

bool thread_submission::decided(std::uint32_t item) const noexcept {
  return (decided_many_ ? decided_many_[item] : decided_one_).load();
}

thread_submission::rarities& thread_submission::rare() {
  if (!rare_) {
    rare_ = std::make_unique<rarities>();
  }
  return *rare_;
}

const failure* thread_submission::item_failure(std::uint32_t item) const {
  if (!rare_) {
    return nullptr;
  }
  const auto found =
      std::lower_bound(rare_->ends.begin(), rare_->ends.end(), item,
                       [](const item_end& end, std::uint32_t i) { return end.item < i; });
  return found != rare_->ends.end() && found->item == item ? found->what.get() : nullptr;
}

std::exception_ptr thread_submission::item_exception(std::uint32_t item) const {
  const failure* const what = item_failure(item);
  if (what == nullptr) {
    return nullptr;
  }
  const auto found =
      std::lower_bound(rare_->ends.begin(), rare_->ends.end(), item,
                       [](const item_end& end, std::uint32_t i) { return end.item < i; });
  return found->thrown ? found->thrown : to_exception(*what);
}

}  // namespace troupe::detail
