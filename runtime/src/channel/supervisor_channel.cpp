// SPDX-License-Identifier: BSD-3-Clause

// The supervisor's end of a channel.

#include "troupe/detail/futex.hpp"
#include "troupe/error.hpp"

#include "channel/channel.hpp"
#include "channel/channel_memory.hpp"
#include "channel/channel_messages.hpp"
#include "os/sys.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <new>
#include <utility>

namespace troupe::detail {

supervisor_channel::supervisor_channel() {
  auto [here, there] = sys::socket_pair();
  socket_ = std::move(here);
  worker_ends_.socket = std::move(there);
  worker_ends_.memory = create_memory("troupe-channel", memory_bytes);
  control_memory_ = std::make_shared<mapping>(map_memory(worker_ends_.memory, 0, control_bytes));
  tasks_ = map_ring(worker_ends_.memory, tasks_offset, ring_bytes);
  results_ = map_ring(worker_ends_.memory, results_offset, ring_bytes);
  control_ = new (control_memory_->data()) control_page{};
}

supervisor_channel::~supervisor_channel() = default;

void supervisor_channel::break_channel(std::string why) {
  rings_broken_ = true;
  if (state_ != channel_state::broken) {
    state_ = channel_state::broken;
    what_broke_ = std::move(why);
  }
}

std::byte* supervisor_channel::begin_frame(std::size_t bytes) noexcept {
  const std::uint64_t head = control_->tasks_head.load(std::memory_order_acquire);
  // Untrusted: a head outside of what was written would let frames overwrite each other.
  if (head > tasks_tail_ || tasks_tail_ - head > ring_bytes) {
    break_channel("the worker's read position of the task ring is impossible");
    return nullptr;
  }
  if (bytes > max_frame_bytes || ring_bytes - (tasks_tail_ - head) < frame_bytes(bytes)) {
    return nullptr;
  }
  return tasks_.data() + tasks_tail_ % ring_bytes + sizeof(frame_header);
}

void supervisor_channel::publish(const frame_header& header) noexcept {
  std::memcpy(tasks_.data() + tasks_tail_ % ring_bytes, &header, sizeof header);
  tasks_tail_ += frame_bytes(header.bytes);
  control_->tasks_tail.store(tasks_tail_, std::memory_order_release);  // partner: take_frames
}

void supervisor_channel::ring_bell() noexcept {
  full_fence();  // partner: the fence in wait_for_frames
  if (control_->worker_armed.load(std::memory_order_relaxed) != 0 &&
      control_->worker_armed.exchange(0) == 1) {
    // A full socket has unread doorbells, so the worker wakes up anyway. A closed one is noticed by
    // read_socket.
    send_bell(socket_.number());
  }
}

int supervisor_channel::send_segment(std::uint64_t id, const descriptor& reader,
                                     std::uint64_t number) noexcept {
  const int code = announce_segment(socket_.number(), id, reader, number, false);
  return code == EPIPE ? 0 : code;
}

bool supervisor_channel::next_frame(frame_header& header,
                                    std::span<const std::byte>& payload) noexcept {
  if (rings_broken_) {
    return false;
  }
  const std::uint64_t tail = control_->results_tail.load(std::memory_order_acquire);
  if (tail == results_head_) {
    return false;
  }
  const std::uint64_t available = tail - results_head_;
  if (available > ring_bytes || available < sizeof(frame_header)) {
    break_channel("the worker's write position of the result ring is impossible");
    return false;
  }
  const std::byte* at = results_.data() + results_head_ % ring_bytes;
  std::memcpy(&header, at, sizeof header);
  if (header.bytes > max_frame_bytes || frame_bytes(header.bytes) > available) {
    break_channel("a result frame says it is longer than what was written");
    return false;
  }
  payload = {at + sizeof header, header.bytes};
  results_head_ += frame_bytes(header.bytes);
  return true;
}

void supervisor_channel::finish_reading() noexcept {
  if (control_->results_head.load(std::memory_order_relaxed) != results_head_) {
    control_->results_head.store(results_head_, std::memory_order_release);  // partner: push
    full_fence();  // partner: the fence in push
    if (control_->room_armed.load(std::memory_order_relaxed) != 0 &&
        control_->room_armed.exchange(0) == 1) {
      send_bell(socket_.number());
    }
  }
}

bool supervisor_channel::arm() noexcept {
  control_->supervisor_armed.store(1, std::memory_order_relaxed);
  full_fence();  // partner: the fence in worker ring_bell
  if (control_->results_tail.load(std::memory_order_acquire) == results_head_) {
    return true;
  }
  control_->supervisor_armed.store(0, std::memory_order_relaxed);
  return false;
}

bool supervisor_channel::readable() const noexcept {
  return control_->results_tail.load(std::memory_order_relaxed) != results_head_;
}

int supervisor_channel::send_attachments(std::uint64_t number,
                                         const attachment_list& what) noexcept {
  const int code = announce_attachments(socket_.number(), number, what, false);
  return code == EPIPE ? 0 : code;
}

bool supervisor_channel::read_message() {
  if (state_ == channel_state::closed) {
    return false;
  }
  // One byte more than any message; not initialised: recv fills what is used.
  std::array<std::byte, sizeof(attachments_announcement) + 1> buffer;
  static_assert(sizeof(attachments_announcement) > max_hello_bytes);
  sys::received message = sys::receive(socket_.number(), buffer, false);
  if (message.status == sys::receive_status::empty) {
    abandoned_.clear();
    return false;
  }
  if (message.status == sys::receive_status::closed) {
    if (state_ == channel_state::open) {
      state_ = channel_state::closed;
    }
    return false;
  }
  if (message.bytes == 1 && buffer[0] == bell_message && message.descriptors.empty()) {
    return true;
  }
  if (arrived_messages_ < result_slots && keep_arrival(arrived_, buffer.data(), message)) {
    ++arrived_messages_;
    for (const std::uint64_t number : abandoned_) {
      done_with(number);
    }
    return true;
  }
  if (buffer[0] == hello_message && message.bytes <= max_hello_bytes && hello_.empty() &&
      message.descriptors.empty()) {
    hello_.assign(reinterpret_cast<const char*>(buffer.data()) + 1, message.bytes - 1);
    return true;
  }
  if (buffer[0] == sigterm_message && message.bytes == sizeof(sigterm_notice) &&
      message.descriptors.empty()) {
    sigterm_notice notice;
    std::memcpy(&notice, buffer.data(), sizeof notice);
    sigterm_from_ = notice.sender;
    return true;
  }
  if (state_ != channel_state::broken) {
    state_ = channel_state::broken;
    what_broke_ = "something wrote " + std::to_string(message.bytes) +
                  " bytes that are no message to its channel's descriptor";
  }
  return true;
}

bool supervisor_channel::read_socket() {
  while (read_message()) {
    if (arrived_messages_ != 0 && readable()) {
      return false;
    }
  }
  return true;
}

attachment_list supervisor_channel::take_attachments(std::uint64_t number) {
  for (;;) {
    const auto found = arrived_.find(number);
    if (found != arrived_.end() && found->second.has_attachments) {
      return take_arrived_attachments(found->second);
    }
    if (!read_message()) {  // it was sent before the frame, so it is in the socket at the latest
      throw error{errc::protocol_error, task_ran::maybe,
                  "it refers to shared objects never handed over"};
    }
  }
}

void supervisor_channel::done_with(std::uint64_t number) noexcept {
  if (const auto found = arrived_.find(number); found != arrived_.end()) {
    arrived_messages_ -= found->second.messages;
    arrived_.erase(found);
  }
}

void supervisor_channel::abandon(std::uint64_t number) {
  done_with(number);
  abandoned_.push_back(number);
}

std::shared_ptr<const foreign_payload> supervisor_channel::open_payload(
    const segment_reference& where, std::uint64_t number) {
  if (where.slot > result_slots) {
    throw error{errc::protocol_error, task_ran::maybe, "a result names a slot that does not exist"};
  }
  // Slot `result_slots` means: the worker uses the segment once, so no byte is cleared for it.
  std::atomic<std::uint8_t>* in_use =
      where.slot < result_slots ? &control_->result_in_use[where.slot] : nullptr;
  try {
    for (;;) {
      // Its descriptor is taken even if the mapping is known, so that none is left over.
      const auto found = arrived_.find(number);
      const bool came = found != arrived_.end() &&
                        std::any_of(found->second.segments.begin(), found->second.segments.end(),
                                    [&](const auto& one) { return one.first == where.id; });
      if (came) {
        return std::make_shared<const foreign_payload>(
            find_view(views_, found->second, where.id, where.bytes),
            static_cast<std::size_t>(where.bytes), control_memory_, in_use);
      }
      if (!read_message()) {  // as above
        throw error{errc::protocol_error, task_ran::maybe,
                    "a result names a segment never handed over"};
      }
    }
  } catch (...) {
    if (in_use != nullptr) {
      in_use->store(0, std::memory_order_release);  // as foreign_payload does
    }
    throw;
  }
}

std::uint64_t supervisor_channel::undecided() const noexcept {
  return control_->undecided.load(std::memory_order_acquire);
}

std::uint64_t supervisor_channel::revoke(std::uint64_t end) noexcept {
  std::uint64_t first = control_->undecided.load(std::memory_order_acquire);
  while (first < end && !control_->undecided.compare_exchange_weak(first, end)) {
  }
  return std::min(first, end);
}

void supervisor_channel::request_stop(std::uint64_t number) noexcept {
  if (number < control_->stop_task.load(std::memory_order_relaxed)) {
    return;  // what was begun later than it has the main thread
  }
  control_->stop_task.store(number);
  control_->stop_word.fetch_add(1);
  futex_wake_all(control_->stop_word, true);
}

std::optional<crash_report> supervisor_channel::crash() const {
  return read_crash_record({control_memory_->data() + crash_offset, crash_record_bytes});
}

}  // namespace troupe::detail
