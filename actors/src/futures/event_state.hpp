// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/detail/future_state.hpp"

#include <cstddef>
#include <functional>
#include <span>

namespace troupe::detail {

/// A future without a value, for threads of the library that wait for one another: it is done once
/// `happened` was called.
class event_state final : public future_state {
 public:
  /// `needs_other_tasks`: what has to end before it happens is not known, so a worker that waits for
  /// it has to run any task.
  explicit event_state(bool needs_other_tasks) : needs_other_tasks_{needs_other_tasks} {}

  void happened() { finish(nullptr); }

  void each_value(const std::function<void(std::span<const std::byte>)>&) const override {}
  bool cancel(bool) override { return false; }
  [[nodiscard]] bool running() const override { return true; }
  [[nodiscard]] bool needs_other_tasks() const noexcept override { return needs_other_tasks_; }

 protected:
  [[nodiscard]] executor callbacks() const override { return {}; }

 private:
  const bool needs_other_tasks_;
};

}  // namespace troupe::detail
