// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "channel/channel.hpp"
#include "pools/submission/process_submission.hpp"

#include <cstddef>
#include <cstdint>

namespace troupe::detail {

/// Items of one submission as a frame for a worker: as many of those asked for as fit into it.
/// Refers to the submission and owns nothing.
///
/// @threads the supervisor's turn.
class task_frame {
 public:
  task_frame(process_submission& work, std::uint32_t first, std::uint32_t items,
             std::uint32_t attempt);

  struct result {
    int code = 0;              ///< 0: sent; EAGAIN: not now; another errno: it cannot be sent
    std::uint32_t items = 0;   ///< of those in the frame
    bool had_room = true;      ///< the ring was not full
    bool handed_over = false;  ///< descriptors were sent with it
  };
  /// Publishes the frame; its first item gets the number `number`. The caller rings the worker's
  /// bell.
  result send(supervisor_channel& channel, std::uint64_t number) const;

 private:
  [[nodiscard]] std::uint32_t place_of(std::uint32_t item) const;
  /// Sends the worker the segments that the parts from `begin` to `end` refer to. Returns an errno
  /// or 0.
  int announce_segments(supervisor_channel& channel, std::uint64_t number, std::uint32_t begin,
                        std::uint32_t end) const;

  process_submission& work_;
  std::uint32_t first_;
  std::uint32_t items_;
  std::uint32_t attempt_;
};

}  // namespace troupe::detail
