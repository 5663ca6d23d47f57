// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <chrono>
#include <optional>

namespace troupe::detail {

/// Whether the folder of names has to be looked through after a death. A look opens every file in
/// it, those of other programs too; the time of the folder's last change costs one system call.
class name_watch {
 public:
  using time = std::chrono::system_clock::time_point;

  /// How much later than a change the folder's time may still be the same: file systems take it
  /// from a clock that ticks.
  static constexpr std::chrono::milliseconds tick{50};

  /// At `now` the folder had no name of memory of this library, or none that concerns this
  /// program; it was changed last at `changed`.
  void was_without_names(time changed, time now) {
    // A name that is made in the same tick would leave the folder's time as it is.
    quiet_since_ = changed + tick < now ? std::optional{changed} : std::nullopt;
  }
  /// It had some, which may be left by their processes at any time.
  void had_names() { quiet_since_.reset(); }

  /// Whether a name can have been left there by now.
  [[nodiscard]] bool must_look(time changed) const { return quiet_since_ != changed; }

 private:
  std::optional<time> quiet_since_;
};

}  // namespace troupe::detail
