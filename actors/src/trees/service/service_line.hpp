// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/codec.hpp"
#include "troupe/detail/attachment.hpp"
#include "troupe/detail/descriptor.hpp"

#include "trees/service/service_protocol.hpp"

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

namespace troupe::detail {

/// The supervised process's end of the line to its supervisor; crosses as an argument.
///
/// @threads any.
class service_line {
 public:
  service_line() = default;
  explicit service_line(std::shared_ptr<const attachment> end) : end_{std::move(end)} {}

  /// Sends a message. One that finds no room is dropped, unless it waits for it.
  void say(line_kind what, std::string_view text, bool wait) const noexcept;
  /// For poll.
  [[nodiscard]] int number() const noexcept { return end_ ? end_->number() : -1; }
  /// What has arrived says that the process is to stop, or the supervisor is gone.
  [[nodiscard]] bool hears_stop() const noexcept;

  void save(output_archive& ar) const { save_attachment(ar, end_); }
  void load(input_archive& ar) { end_ = load_attachment(ar); }

 private:
  std::shared_ptr<const attachment> end_;
};

/// The supervisor's end, and the other one.
///
/// @throws error{resource_exhausted}.
[[nodiscard]] std::pair<descriptor, service_line> make_service_line();

/// Tells the process to stop. False: it does not read, or has closed its end.
bool say_stop(const descriptor& end) noexcept;

/// Reads what has arrived, without waiting. What no service sends is dropped.
void read_service_line(const descriptor& end,
                       const std::function<void(line_kind, const std::string&)>& said);

}  // namespace troupe::detail
