// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/detail/attachment.hpp"
#include "troupe/detail/descriptor.hpp"
#include "troupe/detail/memory.hpp"

#include "channel/crash_record.hpp"
#include "channel/worker_protocol.hpp"

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

// The channel between a supervisor and one worker: two single-producer rings in shared memory for
// frames, and one SOCK_SEQPACKET socket. The socket tells the death of the other end (end of file),
// wakes a sleeping reader, and carries descriptors. Every frame becomes visible by a single store,
// so a writer that is killed at any instruction leaves whole frames or nothing. docs/protocol.md
// has the layout.
namespace troupe::detail {

struct control_page;  // defined in channel/channel_memory.hpp

inline constexpr std::size_t ring_bytes = 128 * 1024;

/// A payload in a segment of another process. That process may reuse the memory once the last copy
/// of this is destroyed.
class foreign_payload {
 public:
  foreign_payload(std::shared_ptr<const mapping> view, std::size_t bytes,
                  std::shared_ptr<const mapping> control, std::atomic<std::uint8_t>* in_use)
      : view_{std::move(view)}, bytes_{bytes}, control_{std::move(control)}, in_use_{in_use} {}
  foreign_payload(const foreign_payload&) = delete;
  foreign_payload& operator=(const foreign_payload&) = delete;
  ~foreign_payload() {
    if (in_use_ != nullptr && control_->is_here()) {
      in_use_->store(0, std::memory_order_release);  // partner: segment_pool::acquire in the worker
    }
  }
  [[nodiscard]] std::span<const std::byte> bytes() const noexcept {
    return view_->is_here() ? std::span{view_->data(), bytes_} : std::span<const std::byte>{};
  }

 private:
  std::shared_ptr<const mapping> view_;
  std::size_t bytes_;
  std::shared_ptr<const mapping> control_;  // keeps in_use_ mapped
  std::atomic<std::uint8_t>* in_use_;
};

/// The descriptors that came on the socket for one frame, until that frame is read.
struct frame_arrivals {
  std::size_t messages = 0;  ///< messages of the socket that named this frame
  bool has_attachments = false;
  bool attachments_lost = false;  ///< this process had no free numbers for all of its descriptors
  attachment_list attachments;
  std::vector<std::pair<std::uint64_t, descriptor>> segments;  ///< no descriptor: it was lost
};

/// The descriptors of the worker's end of a channel, for the new worker process.
struct channel_ends {
  descriptor socket;
  descriptor memory;
  descriptor errors;  ///< becomes the worker's stderr; none: the worker has its parent's stderr
};

enum class channel_state : std::uint8_t { open, closed, broken };

/// The supervisor's end. Nothing read from the shared memory is trusted.
///
/// @threads one at a time.
class supervisor_channel {
 public:
  /// @throws error{resource_exhausted}.
  supervisor_channel();
  ~supervisor_channel();
  supervisor_channel(const supervisor_channel&) = delete;
  supervisor_channel& operator=(const supervisor_channel&) = delete;

  [[nodiscard]] channel_ends take_worker_ends() noexcept { return std::move(worker_ends_); }
  [[nodiscard]] int socket() const noexcept { return socket_.number(); }

  /// Room for a frame of `bytes` payload, null when the ring is full now. Nothing is visible before
  /// `publish`.
  std::byte* begin_frame(std::size_t bytes) noexcept;
  void publish(const frame_header& header) noexcept;
  /// Wakes the worker if it sleeps, by one system call; none otherwise.
  void ring_bell() noexcept;
  /// Hands a segment's descriptor over, before the frame with that number, which refers to it.
  /// 0: done, or the worker is gone; EAGAIN: not now; another errno: it cannot be sent.
  int send_segment(std::uint64_t id, const descriptor& reader, std::uint64_t number) noexcept;
  /// Hands over what the frame with that number, which comes next, refers to; 0: the configuration.
  /// At most `max_attachments`. Returns what send_segment does.
  int send_attachments(std::uint64_t number, const attachment_list& what) noexcept;

  /// Next published frame. False: there is none. The payload stays in shared memory, where its
  /// writer may still change it: read each byte once. It is gone after the next call. Sets
  /// `state()` to broken when the worker wrote what no worker writes.
  bool next_frame(frame_header& header, std::span<const std::byte>& payload) noexcept;
  /// After a round of next_frame: tells the worker there is room again.
  void finish_reading() noexcept;
  /// A frame may be there; costs no more than a load.
  [[nodiscard]] bool readable() const noexcept;
  /// From now on the worker sends a doorbell for its next frame. False: frames came meanwhile, read
  /// again.
  bool arm() noexcept;

  /// Reads the socket: doorbells, descriptors, the hello, end of file. A message that no worker
  /// sends breaks the channel, but the frames in the rings stay readable. False: the socket is not
  /// empty yet. It stopped reading because descriptors came for frames that can be read now;
  /// descriptors of later frames may still be in the socket.
  bool read_socket();
  [[nodiscard]] channel_state state() const noexcept { return state_; }
  [[nodiscard]] const std::string& what_broke() const noexcept { return what_broke_; }
  void break_channel(std::string why);
  /// Who has sent the worker the last SIGTERM that was not meant for it, once.
  [[nodiscard]] std::optional<std::int64_t> take_sigterm() noexcept {
    return std::exchange(sigterm_from_, std::nullopt);
  }
  /// The worker's first message, once.
  [[nodiscard]] std::string take_hello() { return std::exchange(hello_, {}); }
  /// Payload that the frame `number` refers to.
  ///
  /// @throws error{protocol_error}, or error{resource_exhausted}, after which its slot is free.
  std::shared_ptr<const foreign_payload> open_payload(const segment_reference& where,
                                                      std::uint64_t number);
  /// What the frame `number` refers to.
  ///
  /// @throws error{protocol_error} or error{resource_exhausted}.
  attachment_list take_attachments(std::uint64_t number);
  /// The frame `number` was read, and all that came for it: closes the descriptors that were not
  /// taken.
  void done_with(std::uint64_t number) noexcept;
  /// The same when some of it may still be in the socket.
  void abandon(std::uint64_t number);

  /// The first task number that is not yet decided: all below were claimed or revoked.
  [[nodiscard]] std::uint64_t undecided() const noexcept;
  /// Takes back every task from the first undecided one below `end`; returns that first one. Tasks
  /// that the worker claimed before stay with the worker. Needs no answer of the worker.
  std::uint64_t revoke(std::uint64_t end) noexcept;
  /// Asks the task `number`, which was begun, to stop: its stop_token is set if it is what the main
  /// thread is running. Coroutines are asked by a frame.
  void request_stop(std::uint64_t number) noexcept;

  /// What the worker noted down while a signal was ending it.
  [[nodiscard]] std::optional<crash_report> crash() const;

 private:
  /// False: there is none, or there will be none.
  bool read_message();

  descriptor socket_;
  channel_ends worker_ends_;
  std::shared_ptr<mapping> control_memory_;
  control_page* control_;
  mapping tasks_;
  mapping results_;
  std::uint64_t tasks_tail_ = 0;
  std::uint64_t results_head_ = 0;
  channel_state state_ = channel_state::open;
  std::string what_broke_;
  bool rings_broken_ = false;
  std::string hello_;
  std::map<std::uint64_t, frame_arrivals> arrived_;  // by frame, not yet asked for
  std::size_t arrived_messages_ = 0;                 // of them
  std::vector<std::uint64_t> abandoned_;             // until the socket was empty once
  std::deque<std::pair<std::uint64_t, std::shared_ptr<const mapping>>> views_;  // newest first
  std::optional<std::int64_t> sigterm_from_;
};

/// The worker's end.
///
/// @threads one at a time, but for `stop_word`, `stop_requested_for` and `tell_sigterm`.
class worker_channel {
 public:
  explicit worker_channel(channel_ends ends);

  [[nodiscard]] int socket() const noexcept { return socket_.number(); }
  void send_hello(std::string_view hello);

  /// Moves all published frames, headers included, to the end of `out`; stops at `max_bytes`.
  std::size_t take_frames(std::string& out, std::size_t max_bytes);
  /// Published frames, headers included: a large one as it stands in the ring, or several small
  /// ones that have left it. Valid until `finish_frames`, which comes before the next call. Empty:
  /// there are none.
  std::span<const std::byte> next_frames();
  void finish_frames() noexcept;
  /// Sleeps until a frame may be there. False: the supervisor has ended.
  bool wait_for_frames();
  /// For a thread that sleeps elsewhere until `readiness` is readable: from now on the supervisor
  /// sends a doorbell for its next frame. False: there are frames already. Call it again before
  /// each sleep, because every member that reads the socket (`push`, too) may take the doorbell.
  bool prepare_to_sleep() noexcept;
  /// Reads what the socket has now, without waiting. False: the supervisor has ended.
  bool read_bells();
  /// A descriptor that is readable while the socket is; its flags are not shared with the socket's.
  ///
  /// @throws error{resource_exhausted}.
  [[nodiscard]] descriptor readiness() const;

  /// True: this worker has to run task `number`, and the supervisor cannot take it back any more.
  /// False: the supervisor has taken it back.
  bool claim(std::uint64_t number) noexcept;

  /// Publishes one frame; waits while the ring is full. False: the supervisor has ended.
  bool push(frame_kind kind, std::uint16_t flags, std::uint64_t number,
            std::span<const std::byte> head, std::span<const std::byte> body);
  /// Wakes the supervisor if it sleeps, by one system call; none otherwise.
  void ring_bell() noexcept;
  /// The same right after a successful `claim`, without a fence of its own.
  void ring_bell_after_claim() noexcept;
  /// Hands over what the frame `number`, which comes next, refers to; of shared objects at most
  /// `max_attachments`. 0: done; EPIPE: the supervisor has ended; another errno: it cannot be sent.
  /// When too many descriptors are on their way, it tries again for about 100 milliseconds.
  int send_segment(std::uint64_t id, const descriptor& reader, std::uint64_t number);
  int send_attachments(std::uint64_t number, const attachment_list& what);
  /// Tells the supervisor of a SIGTERM that was not meant for this process. For signal handlers.
  void tell_sigterm(std::int64_t sender) noexcept;
  /// The byte that says whether the supervisor still reads the result in that slot.
  std::atomic<std::uint8_t>& result_slot(std::size_t slot) noexcept;
  /// Payload that the frame with that number refers to.
  ///
  /// @throws error{protocol_error} or error{resource_exhausted}.
  std::shared_ptr<const mapping> open_payload(const segment_reference& where, std::uint64_t number);
  /// What the frame with that number refers to.
  ///
  /// @throws error{protocol_error} or error{resource_exhausted}.
  attachment_list take_attachments(std::uint64_t number);
  /// No frame before `number` will be read again: closes the descriptors that came for them and
  /// were not taken.
  void done_before(std::uint64_t number) noexcept;

  /// For the stop watcher: the word that changes with each request, and the task it asks to stop.
  [[nodiscard]] const std::atomic<std::uint32_t>& stop_word() const noexcept;
  [[nodiscard]] std::uint64_t stop_requested_for() const noexcept;

  /// Where this process notes down how it ended, mapped as long as the channel lives.
  [[nodiscard]] std::span<std::byte> crash_record() noexcept;

 private:
  enum class heard : std::uint8_t { something, nothing, the_end };
  /// Reads one message, waiting for it if `wait`. Not more than one: a process with few free
  /// descriptors may have enough for one frame after the other.
  heard read_message(bool wait);
  void wait_for_message() const noexcept;
  [[nodiscard]] bool has_frames() const noexcept;
  frame_arrivals& wait_for_arrivals(std::uint64_t number,
                                    const std::function<bool(frame_arrivals&)>& complete);
  int keep_trying(const std::function<int()>& send);

  descriptor socket_;
  mapping control_memory_;
  control_page* control_;
  mapping tasks_;
  mapping results_;
  std::uint64_t tasks_head_ = 0;
  std::string small_frames_;      ///< what `next_frames` has returned
  std::uint64_t frames_end_ = 0;  ///< of what it has returned in its place; 0: nothing
  std::uint64_t results_tail_ = 0;
  bool short_waits_ = false;     // the last wait for frames ended soon
  std::uint64_t rung_tail_ = 0;  // what was published when the bell was last looked at
  std::map<std::uint64_t, frame_arrivals> arrived_;  // by frame, not yet asked for
  std::uint64_t first_frame_ = 0;                    // all before it were run
  bool short_ = false;  // descriptors could not be sent, although it was tried for a while
  std::deque<std::pair<std::uint64_t, std::shared_ptr<const mapping>>> views_;
};

}  // namespace troupe::detail
