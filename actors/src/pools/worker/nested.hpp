// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "channel/channel.hpp"
#include "channel/segment.hpp"
#include "pools/process/process_submission.hpp"

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

// Tasks that submit tasks to their own pool. The submission is a frame of the worker's channel; the
// outcome comes on a socket of its own, which a thread of the worker reads, because its main thread
// may be waiting for just that. docs/protocol.md has the messages.
namespace troupe::detail {

/// Workers that one pool starts beyond its size for those that wait.
inline constexpr int max_extra_workers = 64;
/// Pools that may be made in tasks of pools in tasks of pools…
inline constexpr std::uint64_t max_pool_depth = 10;

/// Flags of a `submit` frame.
inline constexpr std::uint16_t submit_has_attachments = 1;
inline constexpr std::uint16_t submit_has_socket =
    2;                                             ///< its shared object is the outcomes' socket
inline constexpr std::uint16_t submit_cancel = 4;  ///< of the task with that ticket
/// Of the attachments that belongs to a `submit` frame: its ticket, which is no task's number.
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

/// One outcome on its way to a worker.
struct outcome_message {
  std::string text;
  attachment_list descriptors;
};
outcome_message make_outcome(std::uint64_t ticket, const process_submission& finished);
/// The same for a task that fails with `why`.
outcome_message make_outcome(std::uint64_t ticket, const failure& why);

/// The worker's side.
class nested_calls {
 public:
  explicit nested_calls(worker_channel& channel, std::shared_ptr<segment_pool> segments);

  submission_builder builder();
  std::shared_ptr<future_state> submit(submission_builder&& submission);
  void cancel(std::uint64_t ticket);
  void limit(std::uint64_t max_bytes) noexcept { max_bytes_ = max_bytes; }

 private:
  class relayed;

  void open_socket();
  void read_outcomes(int socket);
  void deliver(std::span<const std::byte> message, std::vector<descriptor>& descriptors,
               bool some_lost);
  [[noreturn]] static void fail_submission(int code);

  worker_channel& channel_;
  std::shared_ptr<segment_pool> segments_;
  std::uint64_t max_bytes_ = UINT64_MAX;
  std::uint64_t next_ticket_ = 1;
  descriptor socket_;
  std::mutex mutex_;
  bool open_ = false;  // guarded by mutex_: outcomes will be read, or were not refused so far
  std::map<std::uint64_t, std::shared_ptr<relayed>> waiting_;  // guarded by mutex_
};

}  // namespace troupe::detail
