// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/child_status.hpp"
#include "troupe/detail/clock.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace troupe {

/// What can happen in a tree of supervisors.
enum class supervisor_event_kind : std::uint8_t {
  started,    ///< a child was started for the first time
  restarted,  ///< a child was started again
  ready,      ///< a child does its work now
  ended,      ///< a run of a child has ended
  killed,     ///< a child was killed by its supervisor
  escalated,  ///< a supervisor below gave up: the one above deals with it
  gave_up,    ///< the supervisor at the top gave up
  stopped     ///< the supervisor at the top has ended
};

/// The enumerator's name, or "unknown".
[[nodiscard]] std::string_view to_string(supervisor_event_kind kind) noexcept;

/// Something that happened in a tree of supervisors.
struct supervisor_event {
  supervisor_event_kind kind{};      ///< what
  std::string path;                  ///< to whom: "web/feed"; empty: the supervisor at the top
  std::uint64_t incarnation = 0;     ///< the number of the child's run; 0 for the top
  std::optional<child_death> death;  ///< of `ended`; of `escalated` and `gave_up`, the last straw
  bool asked = false;                ///< of `ended` and `killed`: it had been asked to stop
  std::uint64_t lost_before = 0;     ///< so many events before it were dropped: the reader is slow
};

}  // namespace troupe
