// SPDX-License-Identifier: BSD-3-Clause

// The worker's end of a channel.

#include "troupe/detail/channel.hpp"
#include "troupe/detail/failpoint.hpp"
#include "troupe/detail/spin.hpp"
#include "troupe/error.hpp"

#include "channel_memory.hpp"
#include "channel_messages.hpp"
#include "sys.hpp"

#include <sys/epoll.h>

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
    // Whole frames only; the supervisor is trusted by its workers.
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

bool worker_channel::read_socket(bool wait) {
  // All of it: the kernel keeps only a few unread messages (net.unix.max_dgram_qlen, 10 by
  // default).
  for (;;) {
    std::array<std::byte, sizeof(cargo_announcement)> buffer;  // not initialised
    sys::received message = sys::receive(socket_.number(), buffer, wait);
    if (message.status != sys::receive_status::message) {
      return message.status == sys::receive_status::empty;
    }
    wait = false;
    if (message.bytes == sizeof(segment_announcement) && buffer[0] == segment_message &&
        message.descriptors.size() == 1) {
      segment_announcement announcement{};
      std::memcpy(&announcement, buffer.data(), sizeof announcement);
      arrived_.emplace_back(announcement.id, std::move(message.descriptors.front()));
    } else if (!message.descriptors.empty()) {
      keep_cargo(cargo_, buffer.data(), message);
    }
  }
}

bool worker_channel::wait_for_frames() {
  const auto anything = [this] {
    return control_->tasks_tail.load(std::memory_order_acquire) != tasks_head_;
  };
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
    if (!read_socket(true)) {
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
  if (control_->tasks_tail.load(std::memory_order_acquire) == tasks_head_) {
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
    if (!read_socket(true)) {
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

bool worker_channel::send_segment(std::uint64_t id, const descriptor& reader) {
  return announce_segment(socket_.number(), id, reader, true) == sys::send_status::sent;
}

std::atomic<std::uint8_t>& worker_channel::result_slot(std::size_t slot) noexcept {
  return control_->result_in_use[slot];
}

bool worker_channel::send_cargo(std::uint64_t number, const cargo_list& what) {
  return announce_cargo(socket_.number(), number, what, true) == sys::send_status::sent;
}

cargo_list worker_channel::take_cargo(std::uint64_t number) {
  for (bool wait = false;; wait = true) {
    const bool alive = read_socket(wait);
    const auto found = cargo_.find(number);
    if (found != cargo_.end()) {
      cargo_list what = std::move(found->second);
      cargo_.erase(found);
      return what;
    }
    if (!alive) {
      throw error{errc::protocol_error, task_ran::no, "the supervisor is gone"};
    }
  }
}

std::shared_ptr<const mapping> worker_channel::open_payload(const segment_reference& where) {
  // The announcement was sent before the frame, so it is here by now.
  for (bool wait = false;; wait = true) {
    const bool alive = read_socket(wait);
    if (auto view = find_view(views_, arrived_, where.id, where.bytes)) {
      return view;
    }
    if (!alive) {
      throw error{errc::protocol_error, task_ran::no, "the supervisor is gone"};
    }
  }
}

const std::atomic<std::uint32_t>& worker_channel::stop_word() const noexcept {
  return control_->stop_word;
}

std::uint64_t worker_channel::stop_requested_for() const noexcept {
  return control_->stop_task.load();
}

}  // namespace troupe::detail
