// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "pools/thread/thread_core.hpp"
#include "scheduling/map_window.hpp"

#include <atomic>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <span>
#include <utility>
#include <vector>

namespace troupe::detail {

class thread_map_future;

/// The group of a map_async. Its submissions keep it alive; until all of them have ended it keeps
/// the future alive, and that the submissions.
class async_group final : public thread_group {
 public:
  void submission_done(thread_submission& finished) override;

  std::shared_ptr<thread_map_future>
      whole;  ///< changed before the first submission and after the last
};

/// The future of a map_async: fulfilled when all of its submissions have ended, with the first
/// failure in input order if there is one.
class thread_map_future final : public future_state {
 public:
  explicit thread_map_future(std::shared_ptr<thread_core> core)
      : core_{std::move(core)}, group_{std::make_shared<async_group>()} {}

  // Called by the thread that submits.
  [[nodiscard]] const std::shared_ptr<async_group>& group() const noexcept { return group_; }
  void add(std::shared_ptr<thread_submission> part);
  /// Removes the submission that was added last, which the pool has refused.
  void drop_last();
  /// No submission is added any more.
  void seal() { part_done(); }
  void cancel_all();

  /// Called for each submission by the thread that gave it its last outcome.
  void submission_done(const thread_submission& finished);
  [[nodiscard]] const thread_core* core() const noexcept { return core_.get(); }
  [[nodiscard]] const std::vector<std::shared_ptr<thread_submission>>& submissions() const {
    return submissions_;
  }

  void each_value(const std::function<void(std::span<const std::byte>)>&) const override {}
  bool cancel(bool force) override;
  [[nodiscard]] bool running() const override;
  bool any_source(const source_visitor& visit) const override;
  [[nodiscard]] task_counts counts() const override;

 protected:
  [[nodiscard]] executor callbacks() const override;
  [[nodiscard]] std::exception_ptr original() const override { return thrown_; }

 private:
  void part_done();

  std::shared_ptr<thread_core> core_;
  std::shared_ptr<async_group> group_;
  std::vector<std::shared_ptr<thread_submission>> submissions_;
  std::exception_ptr thrown_;
  std::atomic<std::uint64_t> items_{0};
  std::atomic<std::uint64_t> items_done_{0};
  std::atomic<std::size_t> left_{1};  ///< submissions that have not ended, and one until `seal`
};

}  // namespace troupe::detail
