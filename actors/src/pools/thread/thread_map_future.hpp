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

/// The group of a map_async. Its submissions keep it, and until all of them have ended it keeps the
/// future, which keeps the submissions.
class async_group final : public thread_group {
 public:
  void submission_done(thread_submission& finished) override;

  std::shared_ptr<thread_map_future>
      whole;  ///< changed before the first submission and after the last
};

/// The future of a map_async: ends when all of its submissions have.
class thread_map_future final : public future_state {
 public:
  explicit thread_map_future(std::shared_ptr<thread_core> core)
      : core_{std::move(core)}, group_{std::make_shared<async_group>()} {}

  // For the thread that submits.
  [[nodiscard]] const std::shared_ptr<async_group>& group() const noexcept { return group_; }
  void add(std::shared_ptr<thread_submission> part);
  /// The last one was not submitted after all.
  void drop_last();
  /// All submissions are known now.
  void seal() { part_done(); }
  void cancel_all();

  void submission_done(const thread_submission& finished);
  [[nodiscard]] const thread_core* core() const noexcept { return core_.get(); }
  [[nodiscard]] const std::vector<std::shared_ptr<thread_submission>>& submissions() const {
    return submissions_;
  }

  void each_value(const std::function<void(std::span<const std::byte>)>&) const override {}
  bool cancel(bool force) override;
  [[nodiscard]] bool running() const override;
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
