// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/detail/pool_core.hpp"

#include "base/thread_safety.hpp"
#include "channel/channel.hpp"
#include "channel/segment.hpp"
#include "futures/callback_runner.hpp"

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

// Tasks that submit tasks to their own pool. The submission is a frame of the worker's channel; the
// outcome comes on a socket of its own, which a thread of the worker reads, because its main thread
// may be waiting for just that. docs/protocol.md has the messages.
namespace troupe::detail {

/// The worker's side.
class nested_calls {
 public:
  explicit nested_calls(worker_channel& channel, std::shared_ptr<segment_pool> segments);

  submission_builder builder();
  std::shared_ptr<future_state> submit(submission_builder&& submission);
  void cancel(std::uint64_t ticket);
  /// @blocks until the callbacks that were called for have returned.
  void finish_callbacks() { callbacks_->wait_idle(); }
  void limit(std::uint64_t max_bytes) noexcept { max_bytes_ = max_bytes; }

 private:
  class relayed;

  void open_socket();
  void read_outcomes(int socket);
  void deliver(std::span<const std::byte> message, std::vector<descriptor>& descriptors,
               bool some_lost);
  [[noreturn]] static void fail_submission(int code);

  worker_channel& channel_;
  /// Not the thread that reads outcomes: a callback may wait for one.
  const std::shared_ptr<callback_runner> callbacks_ = std::make_shared<callback_runner>();
  std::shared_ptr<segment_pool> segments_;
  std::uint64_t max_bytes_ = UINT64_MAX;
  std::uint64_t next_ticket_ = 1;
  descriptor socket_;
  guarded_mutex mutex_;
  bool open_ TROUPE_GUARDED_BY(mutex_) =
      false;  // outcomes will be read, or were not refused so far
  std::map<std::uint64_t, std::shared_ptr<relayed>> waiting_ TROUPE_GUARDED_BY(mutex_);
};

}  // namespace troupe::detail
