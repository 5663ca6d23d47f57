// SPDX-License-Identifier: BSD-3-Clause
#pragma once

// Everything that actors say to each other: (kind, number, bytes), and what the bytes hold. Frames
// between processes are in troupe/detail/channel.hpp; docs/protocol.md describes both.

#include "troupe/death.hpp"
#include "troupe/error.hpp"

#include "channel/channel.hpp"

#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
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

/// Of a `worker_exited`: an encoded one.
struct exit_notice {
  std::int64_t pid = 0;
  std::uint8_t kind = 0;  ///< 0: unknown, 1: exited, 2: killed by a signal
  std::int32_t value = 0;
  std::optional<resource_usage> usage;
  oom_kill out_of_memory = oom_kill::unknown;
  std::string stderr_tail;
  bool with_server = false;  ///< of an unknown end: it went with its fork server

  template <class Archive>
  void serialize(Archive& ar) {
    ar(pid, kind, value, usage, out_of_memory, stderr_tail, with_server);
  }
};
std::string encode_notice(const exit_notice& notice);
exit_notice decode_notice(const std::string& bytes);

/// Payload of a `configure` frame: this, then the encoded initializer if there is one.
struct configure_header {
  std::uint64_t max_result_bytes = 0;
  std::uint64_t concurrency = 1;
  std::uint64_t depth = 1;  ///< pools in tasks of pools: how deep this worker is
  std::uint64_t start = 0;  ///< the start_method that is the program's default
};

/// Payload of a `tasks` frame: this, the callable, then `count` items. The callable and each item
/// are a length and that many bytes; the length `in_segment` means that a segment_reference
/// follows.
struct run_header {
  std::uint64_t task = 0;   ///< the submission's number, for reports
  std::uint32_t count = 0;  ///< items; the first has the number of the frame, the next the next
  std::uint32_t attempt = 1;
};
inline constexpr std::uint32_t in_segment = 0xFFFF'FFFF;
/// Frame flags.
inline constexpr std::uint16_t announce_begin = 1;   ///< say so when one of its tasks begins
inline constexpr std::uint16_t has_attachments = 2;  ///< shared objects came before it

/// Flags of a `result` frame.
inline constexpr std::uint16_t result_failed = 1;      ///< the bytes are an encoded failure
inline constexpr std::uint16_t result_in_segment = 2;  ///< the bytes are a segment_reference
inline constexpr std::uint16_t result_timed = 4;       ///< the payload begins with a result_timing
inline constexpr std::uint16_t result_has_attachments = 8;  ///< shared objects came before it
struct result_timing {
  std::uint64_t nanoseconds = 0;  ///< spent on the items since the last timing
  std::uint64_t items = 0;
};

/// Payload of a `progress` frame: this, then the text.
struct progress_header {
  std::uint64_t done = 0;
  std::uint64_t total = 0;
};
inline constexpr std::size_t max_progress_text = 200;

/// A worker's first message: checked before anything else of it is looked at.
struct hello {
  std::uint32_t magic = 0x50525454;  // "TTRP"
  std::uint32_t protocol = 1;
  std::uint64_t worker = 0;
  std::int64_t pid = 0;  ///< the fork server says it, too, but maybe later than this
  std::uint8_t build_id_bytes = 0;
  std::uint8_t build_id[23] = {};
};

/// For more than `max_attachments_of_part` shared objects in one part.
error too_many_attachments(const std::string& what, task_ran ran);

template <class T>
std::string to_bytes(const T& value) {
  return {reinterpret_cast<const char*>(&value), sizeof value};
}

/// Copies a T out of the front of `bytes`; false if there is not enough.
template <class T, class Bytes>
bool take_front(Bytes& bytes, T& value) {
  if (bytes.size() < sizeof value) {
    return false;
  }
  std::memcpy(&value, bytes.data(), sizeof value);
  bytes = bytes.subspan(sizeof value);
  return true;
}

}  // namespace troupe::detail
