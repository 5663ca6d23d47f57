// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/detail/open_map.hpp"
#include "troupe/detail/thread_submission.hpp"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

// Maps on threads, without the types of their items.
namespace troupe::detail {

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
  thread_map(engine_ptr pool, const map_settings& how);
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

  /// Pulls the whole input now and makes one future of it. If it throws, nothing of it runs.
  std::shared_ptr<future_state> run_async(thread_input& input);

 private:
  struct state;
  std::unique_ptr<state> state_;
};

/// The submissions of a future that `run_async` made, in input order.
const std::vector<std::shared_ptr<thread_submission>>& jobs_of(const future_state& all);

}  // namespace troupe::detail
