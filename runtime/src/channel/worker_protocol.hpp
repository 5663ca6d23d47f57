// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/callable.hpp"

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>

// All that a supervisor and its workers send to each other: the kinds of frames, what begins their
// payloads, their flags and limits, the messages of the socket for the outcomes of tasks of tasks,
// and the role of a process. docs/protocol.md describes the same in words. Both ends are the same
// build, which the hello proves. The supervisor still does not trust what arrives from a worker.
namespace troupe::detail {

// ---- frames -------------------------------------------------------------------------------------

enum class frame_kind : std::uint16_t {
  // supervisor -> worker
  configure = 1,  ///< payload: the pool's initializer, may be empty
  tasks,          ///< payload: run_header, callable, items
  stop,           ///< finish what was claimed, then leave
  // worker -> supervisor
  ready,        ///< the initializer is done
  init_failed,  ///< payload: an encoded failure
  began,        ///< number: the claimed task, sent only where it was asked for
  result,       ///< number: the task; flags: result_flag; payload: see result_prefix
  progress,     ///< number: the running task; payload: done, total, text
  submit,       ///< number: ticket of a task for the same pool; payload: as its submission's
  // supervisor -> worker
  stop_task,  ///< number: a task that was begun; ends it if it is a coroutine
  become,     ///< payload: an encoded process_role; this is no worker but a process of the user's
};

struct frame_header {
  std::uint32_t bytes = 0;  ///< of payload, without this header and the padding
  frame_kind kind{};
  std::uint16_t flags = 0;
  std::uint64_t number = 0;
};
static_assert(sizeof(frame_header) == 16);

/// Where a payload lies that is not inside its frame.
struct segment_reference {
  std::uint64_t id = 0;
  std::uint64_t bytes = 0;
  std::uint64_t slot = 0;  ///< results: the byte to clear when it was read; tasks: see protocol.md
};

/// The most payload bytes of a frame, so that a ring always has room for several.
inline constexpr std::size_t max_frame_bytes = 48 * 1024;
inline constexpr std::size_t result_slots = 256;

/// Shared objects that one frame may refer to: they travel in one message.
inline constexpr std::size_t max_attachments = 128;
/// The same for one callable, one task's arguments, or one result.
inline constexpr std::size_t max_attachments_of_part = max_attachments / 2;

// ---- payloads -----------------------------------------------------------------------------------

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
/// An encoded failure in a segment is not longer.
inline constexpr std::size_t max_failure_bytes = std::size_t{4} << 20;
struct result_timing {
  std::uint64_t nanoseconds = 0;  ///< spent on the items since the last timing
  std::uint64_t items = 0;
};

/// Payload of a `progress` frame: this, then the text.
struct progress_header {
  std::uint64_t done = 0;
  std::uint64_t total = 0;
};

/// A worker's first message: checked before anything else of it is looked at.
struct hello {
  std::uint32_t magic = 0x50525454;  // "TTRP"
  std::uint32_t protocol = 1;
  std::uint64_t worker = 0;
  std::int64_t pid = 0;  ///< the fork server says it, too, but maybe later than this
  std::uint8_t build_id_bytes = 0;
  std::uint8_t build_id[23] = {};
};

// ---- tasks of tasks -----------------------------------------------------------------------------

/// Flags of a `submit` frame.
inline constexpr std::uint16_t submit_has_attachments = 1;
inline constexpr std::uint16_t submit_has_socket =
    2;                                             ///< its shared object is the outcomes' socket
inline constexpr std::uint16_t submit_cancel = 4;  ///< of the task with that ticket
/// Set in the number under which the attachments of a `submit` frame are sent. The other bits are
/// its ticket, so that it is not taken for the number of a task.
inline constexpr std::uint64_t ticket_bit = std::uint64_t{1} << 63;

/// A message on the socket: this, ids of shared objects, and the bytes if they are not in memory.
/// Descriptors: that memory, then the shared objects.
struct outcome_header {
  std::uint64_t ticket = 0;
  std::uint64_t bytes = 0;
  std::uint32_t flags = 0;
  std::uint32_t attachments = 0;
};
inline constexpr std::uint32_t outcome_failed = 1;     ///< the bytes are an encoded failure
inline constexpr std::uint32_t outcome_in_memory = 2;  ///< they are in a memory of their own
inline constexpr std::size_t max_inline_outcome = 32 * 1024;

// ---- processes of the user ----------------------------------------------------------------------

/// What a process is to be: the payload of a `become` frame.
struct process_role {
  std::string name;
  bool daemon = false;
  std::string parent_name;
  std::int64_t parent_pid = 0;
  std::uint64_t depth = 0;  ///< of pools, 0 in the program itself
  std::uint64_t start = 0;  ///< the start_method that is the program's default
  bound_call target;

  template <class Archive>
  void serialize(Archive& ar) {
    ar(name, daemon, parent_name, parent_pid, depth, start, target);
  }
};

/// Flags of a `become` frame.
inline constexpr std::uint16_t role_in_memory = 1;  ///< the payload is its size; it is in memory
                                                    ///< that is the first of the shared objects
/// The last of the shared objects is a pidfd of the parent.
inline constexpr std::uint16_t role_has_parent = 2;

// ---- bytes --------------------------------------------------------------------------------------

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

static_assert(sizeof(segment_reference) == 24 && sizeof(configure_header) == 32);
static_assert(sizeof(run_header) == 16 && sizeof(result_timing) == 16);
static_assert(sizeof(progress_header) == 16 && sizeof(hello) == 48 && sizeof(outcome_header) == 24);

}  // namespace troupe::detail
