// SPDX-License-Identifier: BSD-3-Clause
#pragma once

// Everything that actors say to each other: (kind, number, bytes), and what the bytes hold. Frames
// between processes are in channel/worker_protocol.hpp; docs/protocol.md describes both.

#include "troupe/error.hpp"

#include "channel/worker_protocol.hpp"
#include "process/exit_notice.hpp"

#include <cstdint>
#include <string>

namespace troupe::detail {

/// To a pool's supervisor.
enum class supervisor_message : std::uint32_t {
  run_task = 1,    ///< number: ticket of a registered submission; bytes: its callable and items
  ask,             ///< number: address of a `question`, whose asker waits for the answer
  channel_ready,   ///< number: worker; its rings or its socket have something
  worker_started,  ///< number: worker; bytes: its pid
  start_failed,    ///< number: worker; bytes: an errno
  worker_exited,   ///< number: worker; bytes: an exit_notice
  look,            ///< somebody waits and has a moment: look for results
  time_passed,     ///< number: the timer's meaning; bytes: its argument
};

/// To a worker.
enum class worker_message : std::uint32_t {
  run_frames = 1,  ///< number: how many bytes; bytes: whole frames as they stood in the ring
};

std::string encode_notice(const exit_notice& notice);
exit_notice decode_notice(const std::string& bytes);

/// For more than `max_attachments_of_part` shared objects in one part.
error too_many_attachments(const std::string& what, task_ran ran);

}  // namespace troupe::detail
