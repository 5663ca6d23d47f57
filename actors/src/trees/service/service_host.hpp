// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "trees/service/service_protocol.hpp"

#include <chrono>
#include <cstdint>
#include <stop_token>
#include <string_view>

namespace troupe::detail {

/// What a service runs in: what it says goes there, and its time comes from there.
///
/// @threads any, all members.
class service_host {
 public:
  service_host() = default;
  service_host(const service_host&) = delete;
  service_host& operator=(const service_host&) = delete;
  virtual ~service_host() = default;

  /// Tells the supervisor. What finds no room is dropped, unless it waits for it.
  virtual void say(line_kind what, std::string_view text, bool wait) noexcept = 0;
  [[nodiscard]] virtual std::int64_t now_ns() const noexcept;
  /// Sleeps for so long, but no longer than until `stop` is set.
  virtual void sleep(const std::stop_token& stop, std::chrono::nanoseconds time);
};

}  // namespace troupe::detail
