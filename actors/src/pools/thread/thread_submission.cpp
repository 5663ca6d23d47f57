// SPDX-License-Identifier: BSD-3-Clause
#include "troupe/detail/thread_submission.hpp"

#include "troupe/detail/thread_map.hpp"

#include "futures/made_here.hpp"
#include "pools/option_checks.hpp"
#include "pools/thread/state/item_records.hpp"
#include "pools/thread/thread_core.hpp"

#include <algorithm>
#include <utility>

namespace troupe::detail {

namespace {

std::shared_ptr<thread_core> checked(engine_ptr owner) {
  check_not_moved_from(owner);
  return std::static_pointer_cast<thread_core>(std::move(owner));
}

}  // namespace

thread_group::~thread_group() = default;
thread_input::~thread_input() = default;

thread_submission::thread_submission(engine_ptr owner, const options_ptr& how)
    : owner_{checked(std::move(owner))},
      options_{how.get()},
      kept_options_{how == owner_->task_defaults() ? nullptr : how} {}
thread_submission::~thread_submission() {
  delete records_.load();
}

void thread_submission::each_value(const std::function<void(std::span<const std::byte>)>&) const {}

bool thread_submission::cancel(bool force) {
  return owner_->cancel(*this, force);
}

bool thread_submission::running() const {
  return !done() && next_.load() != 0;
}

void thread_submission::need() const {
  if (!done() && (unclaimed() > 0 || repeats())) {
    owner_->scheduler().need(std::const_pointer_cast<thread_submission>(
        std::static_pointer_cast<const thread_submission>(shared_from_this())));
  }
}

std::uint32_t thread_submission::pending_retries() const {
  return repeats() ? owner_->attempts().pending_count(*this) : 0;
}

future_state::executor thread_submission::callbacks() const {
  return owner_->callback_executor();
}

std::exception_ptr thread_submission::original() const {
  // Sorted when the last item ended: the first failure in input order.
  const item_records* const noted = records();
  return noted != nullptr && !noted->ends.empty() ? noted->ends.front().thrown : nullptr;
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

item_records& thread_submission::make_records() {
  if (records() == nullptr) {
    records_ = std::make_unique<item_records>().release();
  }
  return *records();
}

namespace {

/// Null: the item has a value. Ends are sorted when the last one is there.
const item_end* find_end(const item_records* records, std::uint32_t item) {
  if (records == nullptr) {
    return nullptr;
  }
  const auto& ends = records->ends;
  const auto found =
      std::lower_bound(ends.begin(), ends.end(), item,
                       [](const item_end& end, std::uint32_t i) { return end.item < i; });
  return found != ends.end() && found->item == item ? &*found : nullptr;
}

}  // namespace

const failure* thread_submission::item_failure(std::uint32_t item) const {
  const item_end* const found = find_end(records(), item);
  return found != nullptr ? found->what.get() : nullptr;
}

std::exception_ptr thread_submission::item_exception(std::uint32_t item) const {
  const item_end* const found = find_end(records(), item);
  if (found == nullptr) {
    return nullptr;
  }
  return found->thrown ? found->thrown : to_exception(*found->what);
}

// ---- what the templates call -------------------------------------------------------------------

namespace {

std::shared_ptr<thread_core> make_core(const thread_pool_options& options) {
  check_size_options("troupe::thread_pool", options);
  return make_here<thread_core>(options);
}

}  // namespace

engine_ptr make_thread_pool(const thread_pool_options& options) {
  auto core = make_core(options);
  list_at_root(core, options.name);
  core->start();
  return core;
}

engine_ptr make_thread_pool_for_parent(const thread_pool_options& options) {
  auto core = make_core(options);
  core->start();
  return core;
}

bool submit(const engine_ptr& pool, std::shared_ptr<thread_submission> submission, bool may_block,
            const deadline& until) {
  check_not_inherited(pool);
  return thread_core_of(pool).submit(std::move(submission), may_block, until);
}

}  // namespace troupe::detail
