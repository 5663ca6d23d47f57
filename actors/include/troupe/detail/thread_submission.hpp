// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/detail/engine.hpp"
#include "troupe/detail/futex.hpp"
#include "troupe/detail/future_state.hpp"
#include "troupe/detail/map_cut.hpp"
#include "troupe/task_options.hpp"

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <utility>

// What the templates of thread_pool.hpp call: tasks that stay in this process.
namespace troupe {
struct thread_pool_options;
}

namespace troupe::detail {

struct item_records;
class local_run;
class thread_core;
class thread_submission;

/// What the submissions of a map have in common: a failure of one may cancel the others.
class thread_group {
 public:
  thread_group() = default;
  thread_group(const thread_group&) = delete;
  thread_group& operator=(const thread_group&) = delete;
  virtual ~thread_group();
  /// Called once for each submission, on the thread that ended it.
  virtual void submission_done(thread_submission& finished) = 0;

  // Set before the first submission.
  bool all_or_nothing = true;       ///< a failure cuts
  bool stops_what_it_cuts = false;  ///< what is cut and runs is asked to stop
  map_cut cut;
  std::atomic<std::uint64_t> failed_items{0};
  std::atomic<std::uint64_t> cancelled_items{0};
  std::atomic<std::uint64_t> retried_items{0};
  std::atomic<std::int64_t> mean_ns{0};  ///< of an item, as last measured; 0: not measured
};

/// One submission to a thread pool: one or more items, and their outcomes.
///
///   item:  waiting ──claimed by a worker──▶ running ──decided──▶ has its outcome
///             └────claimed by a thread that cancels────────┘
///
/// Items are claimed in order by raising a counter; the thread that raises it owns what it passed
/// over. An outcome is decided once, by the worker or by the timekeeper whose limit has passed,
/// whichever comes first.
class thread_submission : public future_state {
 public:
  thread_submission(engine_ptr owner, const options_ptr& how);
  ~thread_submission() override;

  // Nothing was encoded.
  void each_value(const std::function<void(std::span<const std::byte>)>& visit) const final;
  bool cancel(bool force) final;
  [[nodiscard]] bool running() const final;
  void need() const final;

  [[nodiscard]] std::uint32_t count() const noexcept { return count_; }
  /// Items that no worker has claimed; that have no outcome.
  [[nodiscard]] std::uint32_t unclaimed() const noexcept {
    return count_ - std::min(next_.load(), count_);
  }
  [[nodiscard]] std::uint32_t undecided() const noexcept { return left_.load(); }
  [[nodiscard]] std::uint32_t pending_retries() const;
  [[nodiscard]] thread_core* owner() const noexcept { return owner_.get(); }
  [[nodiscard]] const task_options& options() const noexcept { return *options_; }
  /// Its items are coroutines, and `begin` takes the place of `run`.
  [[nodiscard]] virtual bool is_coroutine() const noexcept = 0;
  [[nodiscard]] virtual bool is_void() const noexcept = 0;
  /// Why an item has no value, null if it has one; only when done.
  [[nodiscard]] std::exception_ptr item_exception(std::uint32_t item) const;
  [[nodiscard]] const failure* item_failure(std::uint32_t item) const;

  // A map's, set before the submission is submitted, and never changed then: any thread reads them.
  std::shared_ptr<thread_group> group;
  std::uint64_t first_item = 0;  ///< the position of item 0 in the map
  std::uint32_t task_range = 1;  ///< items that a worker claims at once

  // What the engine does with it.
  /// Claims the next `task_range` items, as many as there are: the first of them. `count` or more:
  /// all are claimed.
  std::uint32_t claim() noexcept { return next_.fetch_add(task_range); }
  /// Claims all that are left: the first of them, or `count`.
  std::uint32_t claim_rest() noexcept { return std::min(next_.exchange(count_), count_); }
  /// The calling thread decides the outcome. True, once for each item.
  bool claim_outcome(std::uint32_t item) noexcept;
  [[nodiscard]] bool decided(std::uint32_t item) const noexcept;
  /// So many items more have their outcomes. True: they were the last.
  bool settled(std::uint32_t items) noexcept { return left_.fetch_sub(items) == items; }
  void end(std::shared_ptr<const failure> failed) noexcept { finish(std::move(failed)); }
  /// Runs an item: calls the function, and stores the value.
  ///
  /// @throws what the function threw.
  virtual void run(std::uint32_t item) = 0;
  /// The function is called when `run`'s executor gets to it. At the end the value is stored, and
  /// then `run` is told that it ended.
  virtual void begin(std::uint32_t item, const std::shared_ptr<local_run>& run);
  /// Empty if items can run more than once; else the type of the argument that cannot be kept.
  [[nodiscard]] virtual std::string unrepeatable() const = 0;
  /// Items may have to run again: arguments are kept until their last attempt.
  [[nodiscard]] bool repeats() const noexcept {
    return options_->retries > 0 && options_->retry_if != nullptr;
  }
  /// Destroys what was given for items that do not begin, or not again.
  virtual void drop(std::uint32_t first, std::uint32_t last) noexcept = 0;
  /// Destroys what `run` or `begin` stored: it is not the outcome.
  virtual void drop_value(std::uint32_t item) noexcept = 0;
  /// It was cut off, and what is cut is to stop.
  [[nodiscard]] bool is_cut(std::uint32_t item) const noexcept {
    return group && group->stops_what_it_cuts && group->cut.cuts(first_item + item);
  }
  /// What most submissions never have, or null; see `attempt_book`, whose mutex guards it until the
  /// submission is done. A request that comes just when it is done may still make it: what is read
  /// of it then, `ends`, is empty.
  [[nodiscard]] item_records* records() const noexcept { return records_.load(); }
  item_records& make_records();

  std::uint64_t number = 0;  ///< set when it is submitted
  /// The only worker that may run it. Guarded by the mutex of the scheduler, which is private to
  /// its room: no annotation can name it here.
  const void* bound_to = nullptr;
  /// Noted by the scheduler, which guards it, for threads that wait for it.
  bool needed = false;
  std::atomic<bool> limited{false};  ///< an item was asked to stop: look into the records

 protected:
  [[nodiscard]] executor callbacks() const final;
  [[nodiscard]] std::exception_ptr original() const final;

  /// Says how many items it has; before it is submitted.
  void set_count(std::uint32_t count);

 private:
  const std::shared_ptr<thread_core> owner_;
  const task_options* const options_;  ///< the pool's own, or what `kept_options_` has: counting
                                       ///< the users of the former would be contended by all
  const options_ptr kept_options_;
  std::uint32_t count_ = 1;
  std::atomic<std::uint32_t> next_{0};
  std::atomic<std::uint32_t> left_{1};
  std::atomic<bool> decided_one_{false};
  std::unique_ptr<std::atomic<bool>[]> decided_many_;
  std::atomic<item_records*> records_{nullptr};  ///< owned
};

engine_ptr make_thread_pool(const thread_pool_options& options);
/// False: the queue is full, and it may not block, or was full until then.
bool submit(const engine_ptr& pool, std::shared_ptr<thread_submission> submission, bool may_block,
            const deadline& until = {});

}  // namespace troupe::detail
