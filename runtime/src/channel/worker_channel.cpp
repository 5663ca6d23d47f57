// SPDX-License-Identifier: BSD-3-Clause

// The worker's end of a channel.

#include "troupe/error.hpp"

#include "channel/channel.hpp"
#include "channel/channel_memory.hpp"
#include "channel/channel_messages.hpp"
#include "os/failpoint.hpp"
#include "os/spin.hpp"
#include "os/sys.hpp"

#include <poll.h>
#include <sys/epoll.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <new>
#include <utility>

namespace troupe::detail {

worker_channel::worker_channel(channel_ends ends)
    : socket_{std::move(ends.socket)},
      control_memory_{map_memory(ends.memory, 0, control_bytes)},
      control_{std::launder(reinterpret_cast<control_page*>(control_memory_.data()))},
      tasks_{map_ring(ends.memory, tasks_offset, ring_bytes)},
      results_{map_ring(ends.memory, results_offset, ring_bytes)} {}

std::span<std::byte> worker_channel::crash_record() noexcept {
  return {control_memory_.data() + crash_offset, crash_record_bytes};
}

void worker_channel::send_hello(std::string_view hello) {
  std::string message{static_cast<char>(hello_message)};
  message += hello;
  sys::send(socket_.number(), std::as_bytes(std::span{message}), {}, true);
}

std::size_t worker_channel::take_frames(std::string& out, std::size_t max_bytes) {
  const std::uint64_t tail = control_->tasks_tail.load(std::memory_order_acquire);
  std::uint64_t end = tail;
  if (tail - tasks_head_ > max_bytes) {
    // Whole frames only. A worker trusts its supervisor.
    end = tasks_head_;
    for (;;) {
      frame_header header;
      std::memcpy(&header, tasks_.data() + end % ring_bytes, sizeof header);
      const std::uint64_t next = end + frame_bytes(header.bytes);
      if (end != tasks_head_ && next - tasks_head_ > max_bytes) {
        break;
      }
      end = next;
      if (end >= tail || end - tasks_head_ >= max_bytes) {
        break;
      }
    }
  }
  const std::size_t count = static_cast<std::size_t>(end - tasks_head_);
  out.append(reinterpret_cast<const char*>(tasks_.data() + tasks_head_ % ring_bytes), count);
  tasks_head_ = end;
  control_->tasks_head.store(end, std::memory_order_release);  // partner: begin_frame
  return count;
}

std::span<const std::byte> worker_channel::next_frames() {
  // Copying less costs no more than a look at the ring, and makes room for the supervisor at once.
  constexpr std::size_t worth_leaving = 4096;
  constexpr std::size_t most_copied = 16 * 1024;
  const std::uint64_t tail = control_->tasks_tail.load(std::memory_order_acquire);
  if (tail == tasks_head_) {
    return {};
  }
  const std::byte* const first = tasks_.data() + tasks_head_ % ring_bytes;
  frame_header header;
  std::memcpy(&header, first, sizeof header);
  const std::size_t bytes = frame_bytes(header.bytes);
  if (bytes >= worth_leaving) {
    frames_end_ = tasks_head_ + bytes;
    return {first, bytes};
  }
  small_frames_.clear();
  take_frames(small_frames_, most_copied);
  return std::as_bytes(std::span{small_frames_});
}

void worker_channel::finish_frames() noexcept {
  if (frames_end_ != 0) {
    tasks_head_ = std::exchange(frames_end_, 0);
    control_->tasks_head.store(tasks_head_, std::memory_order_release);  // partner: begin_frame
  }
}

worker_channel::heard worker_channel::read_message(bool wait) {
  std::array<std::byte, sizeof(attachments_announcement)> buffer;  // not initialised
  sys::received message = sys::receive(socket_.number(), buffer, wait);
  if (message.status != sys::receive_status::message) {
    return message.status == sys::receive_status::empty ? heard::nothing : heard::the_end;
  }
  if (message.bytes > 1 && keep_arrival(arrived_, buffer.data(), message)) {
    // Announcements of frames that the supervisor took back may still be here.
    arrived_.erase(arrived_.begin(), arrived_.lower_bound(first_frame_));
  }
  return heard::something;
}

bool worker_channel::has_frames() const noexcept {
  return control_->tasks_tail.load(std::memory_order_acquire) != tasks_head_;
}

bool worker_channel::read_bells() {
  heard last = heard::something;
  while (last == heard::something && (arrived_.empty() || !has_frames())) {
    last = read_message(false);
  }
  return last != heard::the_end;
}

void worker_channel::wait_for_message() const noexcept {
  pollfd one{socket_.number(), POLLIN, 0};
  while (::poll(&one, 1, -1) < 0 && errno == EINTR) {
  }
}

bool worker_channel::wait_for_frames() {
  const auto anything = [this] { return has_frames(); };
  const spin_watch watch;
  if (short_waits_ && spinning_helps()) {
    while (watch.worth_going_on()) {
      if (anything()) {
        return true;
      }
      watch.pause();
    }
  }
  while (!anything()) {
    control_->worker_armed.store(1, std::memory_order_relaxed);
    full_fence();  // partner: supervisor ring_bell
    if (anything()) {
      break;
    }
    if (!arrived_.empty()) {
      // The message was for a frame that was not published yet. If it was the last message for that
      // frame, the frame is published before the next message is sent.
      wait_for_message();
      if (anything()) {
        break;
      }
    }
    if (read_message(true) == heard::the_end) {
      return false;
    }
  }
  control_->worker_armed.store(0, std::memory_order_relaxed);
  short_waits_ = watch.was_short();
  return true;
}

bool worker_channel::prepare_to_sleep() noexcept {
  control_->worker_armed.store(1, std::memory_order_relaxed);
  full_fence();  // partner: supervisor ring_bell
  if (!has_frames()) {
    return true;
  }
  control_->worker_armed.store(0, std::memory_order_relaxed);
  return false;
}

descriptor worker_channel::readiness() const {
  descriptor made{::epoll_create1(EPOLL_CLOEXEC)};
  epoll_event event{};
  event.events = EPOLLIN;
  if (!made || ::epoll_ctl(made.number(), EPOLL_CTL_ADD, socket_.number(), &event) != 0) {
    throw error{errc::resource_exhausted, task_ran::no,
                std::string{"cannot watch the channel: "} + std::strerror(errno)};
  }
  return made;
}

bool worker_channel::claim(std::uint64_t number) noexcept {
  std::uint64_t expected = control_->undecided.load(std::memory_order_acquire);
  while (expected <= number) {
    if (control_->undecided.compare_exchange_weak(expected, number + 1)) {
      return true;
    }
  }
  return false;
}

bool worker_channel::push(frame_kind kind, std::uint16_t flags, std::uint64_t number,
                          std::span<const std::byte> head, std::span<const std::byte> body) {
  const std::size_t bytes = head.size() + body.size();
  const std::size_t needed = frame_bytes(bytes);
  const auto room = [&] {
    return ring_bytes - (results_tail_ - control_->results_head.load(std::memory_order_acquire)) >=
           needed;
  };
  while (!room()) {
    ring_bell();
    control_->room_armed.store(1, std::memory_order_relaxed);
    full_fence();  // partner: the fence in finish_reading
    if (room()) {
      break;
    }
    if (read_message(true) == heard::the_end) {
      return false;
    }
  }
  control_->room_armed.store(0, std::memory_order_relaxed);
  std::byte* at = results_.data() + results_tail_ % ring_bytes;
  const frame_header header{static_cast<std::uint32_t>(bytes), kind, flags, number};
  std::memcpy(at, &header, sizeof header);
  if (!head.empty()) {
    std::memcpy(at + sizeof header, head.data(), head.size());
  }
  if (!body.empty()) {
    std::memcpy(at + sizeof header + head.size(), body.data(), body.size());
  }
  if (kind == frame_kind::result) {
    TROUPE_FAILPOINT("worker.result_half_written");
  }
  results_tail_ += needed;
  control_->results_tail.store(results_tail_, std::memory_order_release);  // partner: next_frame
  return true;
}

void worker_channel::tell_sigterm(std::int64_t sender) noexcept {
  sigterm_notice notice;
  notice.kind = sigterm_message;
  notice.sender = sender;
  sys::send(socket_.number(), std::as_bytes(std::span{&notice, 1}), {}, false);
}

void worker_channel::ring_bell() noexcept {
  rung_tail_ = results_tail_;
  full_fence();  // partner: supervisor arm
  if (control_->supervisor_armed.load(std::memory_order_relaxed) != 0 &&
      control_->supervisor_armed.exchange(0) == 1) {
    send_bell(socket_.number());
  }
}

void worker_channel::ring_bell_after_claim() noexcept {
  if (rung_tail_ == results_tail_) {
    return;  // nothing was published since
  }
  rung_tail_ = results_tail_;
#if defined(__x86_64__)
  // The locked instruction of the claim orders the last publication before this load.
  std::atomic_signal_fence(std::memory_order_seq_cst);
#else
  full_fence();
#endif
  if (control_->supervisor_armed.load(std::memory_order_relaxed) != 0 &&
      control_->supervisor_armed.exchange(0) == 1) {
    send_bell(socket_.number());
  }
}

int worker_channel::keep_trying(const std::function<int()>& send) {
  constexpr int most_attempts = 100;  // a millisecond each
  for (int attempt = 1;; ++attempt) {
    const int code = send();
    if (code != ETOOMANYREFS || short_ || attempt == most_attempts) {
      short_ = code == ETOOMANYREFS;
      return code;
    }
    // The kernel counts descriptors that were sent and not yet received; receivers usually take
    // them soon.
    ::poll(nullptr, 0, 1);
  }
}

int worker_channel::send_segment(std::uint64_t id, const descriptor& reader, std::uint64_t number) {
  return keep_trying([&] { return announce_segment(socket_.number(), id, reader, number, true); });
}

std::atomic<std::uint8_t>& worker_channel::result_slot(std::size_t slot) noexcept {
  return control_->result_in_use[slot];
}

int worker_channel::send_attachments(std::uint64_t number, const attachment_list& what) {
  return keep_trying([&] { return announce_attachments(socket_.number(), number, what, true); });
}

frame_arrivals& worker_channel::wait_for_arrivals(
    std::uint64_t number, const std::function<bool(frame_arrivals&)>& complete) {
  for (;;) {
    if (const auto found = arrived_.find(number);
        found != arrived_.end() && complete(found->second)) {
      return found->second;
    }
    // It was sent before the frame, so it is in the socket at the latest.
    const heard more = read_message(false);
    if (more != heard::something) {
      throw error{errc::protocol_error, task_ran::no,
                  more == heard::nothing ? "a task refers to what was never handed over"
                                         : "the supervisor is gone"};
    }
  }
}

attachment_list worker_channel::take_attachments(std::uint64_t number) {
  return take_arrived_attachments(
      wait_for_arrivals(number, [](const frame_arrivals& came) { return came.has_attachments; }));
}

std::shared_ptr<const mapping> worker_channel::open_payload(const segment_reference& where,
                                                            std::uint64_t number) {
  // Its descriptor is taken even if the mapping is known: it could be the last one that is free.
  frame_arrivals& came = wait_for_arrivals(number, [&](const frame_arrivals& those) {
    return std::any_of(those.segments.begin(), those.segments.end(),
                       [&](const auto& one) { return one.first == where.id; });
  });
  return find_view(views_, came, where.id, where.bytes);
}

void worker_channel::done_before(std::uint64_t number) noexcept {
  first_frame_ = number;
  arrived_.erase(arrived_.begin(), arrived_.lower_bound(number));
}

const std::atomic<std::uint32_t>& worker_channel::stop_word() const noexcept {
  return control_->stop_word;
}

std::uint64_t worker_channel::stop_requested_for() const noexcept {
  return control_->stop_task.load();
}

}  // namespace troupe::detail
