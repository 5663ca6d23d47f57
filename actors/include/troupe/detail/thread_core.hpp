// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/detail/clock.hpp"
#include "troupe/detail/engine.hpp"
#include "troupe/detail/futex.hpp"
#include "troupe/detail/future_state.hpp"
#include "troupe/task_options.hpp"

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <utility>
#include <vector>

// What the templates of thread_pool.hpp call: tasks that stay in this process.
namespace troupe {
struct thread_pool_options;
}

namespace troupe::detail {

class coroutine_run;
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

  /// Nothing behind this item of the map begins any more. True: it did not say so before.
  bool cut_after(std::uint64_t item) noexcept { return cut_from(item + 1); }
  /// Nothing of the map begins any more.
  bool cut_all() noexcept { return cut_from(0); }
  [[nodiscard]] bool cuts(std::uint64_t item) const noexcept { return item >= cut_.load(); }
  [[nodiscard]] bool was_cut() const noexcept { return cut_.load() != UINT64_MAX; }

  // Set before the first submission.
  bool all_or_nothing = true;       ///< a failure cuts
  bool stops_what_it_cuts = false;  ///< what is cut and runs is asked to stop
  std::atomic<std::uint64_t> failed_items{0};
  std::atomic<std::uint64_t> cancelled_items{0};
  std::atomic<std::uint64_t> retried_items{0};
  std::atomic<std::int64_t> mean_ns{0};  ///< of an item, as last measured; 0: not measured

 private:
  bool cut_from(std::uint64_t item) noexcept {
    std::uint64_t before = cut_.load();
    while (item < before) {
      if (cut_.compare_exchange_weak(before, item)) {
        return true;
      }
    }
    return false;
  }

  std::atomic<std::uint64_t> cut_{UINT64_MAX};  ///< the first item that does not begin any more
};

/// One submission to a thread pool: one or more items, and their outcomes.
///
///   item:  waiting ──claimed by a worker──▶ running ──decided──▶ has its outcome
///             └────claimed by a thread that cancels────┘
///
/// Items are claimed in order by raising `next_`; the thread that raises it owns the items that it
/// passed over. An outcome is decided once, by the worker or by the timekeeper after the item's
/// limit has passed, whichever comes first.
class thread_submission : public future_state {
 public:
  thread_submission(engine_ptr owner, const options_ptr& how);
  ~thread_submission() override;

  // Nothing was encoded.
  void each_value(const std::function<void(std::span<const std::byte>)>& visit) const final;
  bool cancel(bool force) final;
  [[nodiscard]] bool running() const final;

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

 protected:
  [[nodiscard]] executor callbacks() const final;
  [[nodiscard]] std::exception_ptr original() const final;

  /// Says how many items it has; before it is submitted.
  void set_count(std::uint32_t count);
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

 private:
  friend class thread_core;
  friend class local_run;
  friend struct local_task;
  struct item_end {
    std::uint32_t item = 0;
    std::exception_ptr thrown;
    std::shared_ptr<const failure> what;
  };
  struct past_attempts {
    std::uint32_t item = 0;
    std::uint32_t count = 0;
  };
  struct stop_entry {
    std::uint32_t item = 0;
    bool timed_out = false;  ///< the attempt that is under way
    std::stop_source source;
  };
  /// What most submissions never need. Guarded by the core's `control_` until the submission is
  /// done.
  struct rarities {
    std::vector<item_end> ends;
    std::vector<stop_entry> stops;
    std::vector<past_attempts> attempts;    ///< that failed, of items that are tried again
    std::vector<item_end> pending_retries;  ///< between two attempts, with how the last one ended
    bool stop_all = false;
    bool overdue = false;                         ///< its deadline has passed
    std::chrono::steady_clock::time_point due{};  ///< its deadline, if it has one
  };

  /// True, once for each item.
  bool claim_outcome(std::uint32_t item) noexcept;
  [[nodiscard]] bool decided(std::uint32_t item) const noexcept;
  rarities& rare();

  std::shared_ptr<thread_core> owner_;
  const task_options* options_;  ///< the pool's own, or what `kept_options_` has: counting the
                                 ///< users of the former would be contended by all threads
  options_ptr kept_options_;
  std::uint64_t number_ = 0;  // set by the core when it is submitted
  std::uint32_t count_ = 1;
  const void* bound_to_ = nullptr;  // guarded by the core's mutex_; the only worker that may run it
  std::atomic<std::uint32_t> next_{0};
  std::atomic<std::uint32_t> left_{1};
  std::atomic<bool> decided_one_{false};
  std::atomic<bool> limited_{false};  // an item was asked to stop: look into `rare_`
  std::unique_ptr<std::atomic<bool>[]> decided_many_;
  std::unique_ptr<rarities> rare_;
};

// ---- what the templates call -------------------------------------------------------------------

engine_ptr make_thread_pool(const thread_pool_options& options);
/// False: the queue is full, and it may not block, or was full until then.
bool submit(const engine_ptr& pool, std::shared_ptr<thread_submission> submission, bool may_block,
            const deadline& until = {});
/// Where the input of a map comes from, without its types.
class thread_input {
 public:
  thread_input() = default;
  thread_input(const thread_input&) = delete;
  thread_input& operator=(const thread_input&) = delete;
  virtual ~thread_input();
  /// An empty submission for up to `most` items.
  virtual std::shared_ptr<thread_submission> open(const engine_ptr& pool, const options_ptr& how,
                                                  std::size_t most) = 0;
  /// Takes the next item into the submission. False: there are no more.
  virtual bool pull(thread_submission& into) = 0;
  /// No more items for this one; tells how many it has.
  virtual std::size_t seal(thread_submission& filled) = 0;
};

/// A map on its way: pulls its input through a window, hands its results out.
///
/// @threads one at a time.
class thread_map {
 public:
  struct settings {
    map_options map;
    options_ptr task;
    bool ordered = true;
    /// The first failure cancels what has not begun.
    bool all_or_nothing = true;
    /// Results are wanted one by one as they come, so submissions stay short.
    bool streamed = false;
    /// The time by which results must be there; then timeout_error.
    deadline until{};
    /// All items run, even if no result is ever read.
    bool run_unread = false;
  };

  thread_map(engine_ptr pool, const settings& how);
  /// As abandon.
  ~thread_map();
  thread_map(const thread_map&) = delete;
  thread_map& operator=(const thread_map&) = delete;

  struct place {
    thread_submission* submission = nullptr;
    std::uint32_t item = 0;
  };
  /// Where the next item's outcome is. Null: the input is used up, all was handed out. May be
  /// called again after it threw.
  ///
  /// @blocks until there is an outcome.
  /// @throws what pulling or submitting threw, after the results of all items before that one;
  ///   timeout_error instead of each result that is not there when the time is over.
  const place* next(thread_input& input);
  /// Pulls the first window of the input now, and not at the first `next`.
  void prefetch(thread_input& input);
  /// Pulls all that is left and submits it, on any thread, also while another one is in `next`.
  /// Without patience it does nothing while that one is pulling. Errors come out of `next`, as when
  /// that pulls.
  ///
  /// @blocks while the queue is full.
  void pull_rest(thread_input& input, const deadline& until, bool patient) noexcept;
  /// Does nothing if anything was submitted.
  ///
  /// @throws why the first submission was refused.
  void throw_if_refused() const;
  /// No results are read any more. Cancels what has not begun, asks what runs to stop, and waits
  /// until nothing of the map runs: its function may refer to the frame that ends now. Items that
  /// are on the calling thread's own stack are not waited for. In a task of the pool other tasks
  /// run meanwhile, as in every wait. With `run_unread`, if `next` was never called and no
  /// exception unwinds the caller, the items go on instead.
  void abandon() noexcept;
  /// As abandon, but with `run_unread`, if `next` was never called and no exception unwinds the
  /// caller, the rest is pulled first.
  void finish(thread_input& input) noexcept;

  struct part {
    thread_submission* submission;
    std::uint32_t count;
  };
  /// Pulls the whole input now and makes one future of it. If it throws, nothing of it runs.
  std::shared_ptr<future_state> run_async(thread_input& input);

 private:
  struct state;
  std::unique_ptr<state> state_;
};

/// The submissions of a future that `run_async` made, in input order.
const std::vector<std::shared_ptr<thread_submission>>& jobs_of(const future_state& all);

}  // namespace troupe::detail
