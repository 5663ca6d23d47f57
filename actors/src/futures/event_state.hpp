// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/detail/future_state.hpp"

#include <cstddef>
#include <functional>
#include <span>

namespace troupe::detail {

/// A future without a value, for threads of the library that wait for one another: it is done once
/// `happened` was called. A worker of a thread pool that waits for it runs tasks meanwhile.
class event_state final : public future_state {
 public:
  void happened() { finish(nullptr); }

  void each_value(const std::function<void(std::span<const std::byte>)>&) const override {}
  bool cancel(bool) override { return false; }
  [[nodiscard]] bool running() const override { return true; }

 protected:
  [[nodiscard]] executor callbacks() const override { return {}; }
};

}  // namespace troupe::detail
