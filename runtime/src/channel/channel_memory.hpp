// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "channel/channel.hpp"
#include "channel/crash_record.hpp"

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

// The shared memory of a channel: the control page, the crash record, and the two rings of frames.
namespace troupe::detail {

// One cache line per word that different sides write, so that neither slows the other by accident.
struct control_page {
  // Lowest task number not yet decided. The worker raises it by one to claim a task, the supervisor
  // raises it beyond the last one sent to take the rest back. The compare-and-swap decides which of
  // the two got a task.
  alignas(64) std::atomic<std::uint64_t> undecided;
  alignas(64) std::atomic<std::uint64_t> tasks_tail;    // written by the supervisor
  alignas(64) std::atomic<std::uint64_t> tasks_head;    // written by the worker
  alignas(64) std::atomic<std::uint64_t> results_tail;  // written by the worker
  alignas(64) std::atomic<std::uint64_t> results_head;  // written by the supervisor
  // A reader that is about to sleep stores 1, fences, and looks for frames again. A writer
  // publishes, fences, and sends a doorbell only if exchange(0) gave 1. Any other order of these
  // steps can lose a wake-up.
  alignas(64) std::atomic<std::uint32_t> worker_armed;
  alignas(64) std::atomic<std::uint32_t> supervisor_armed;
  alignas(64) std::atomic<std::uint32_t> room_armed;  // the worker sleeps until its ring has room
  alignas(64) std::atomic<std::uint64_t> stop_task;
  std::atomic<std::uint32_t> stop_word;
  alignas(64) std::array<std::atomic<std::uint8_t>, result_slots> result_in_use;
};

inline constexpr std::size_t page_bytes = 4096;
static_assert(sizeof(control_page) <= page_bytes);
static_assert(ring_bytes % page_bytes == 0 && max_frame_bytes + sizeof(frame_header) < ring_bytes);

// The control page and the crash record are mapped together.
inline constexpr std::size_t crash_offset = page_bytes;
inline constexpr std::size_t control_bytes = page_bytes + crash_record_bytes;
inline constexpr std::size_t tasks_offset = control_bytes;
inline constexpr std::size_t results_offset = control_bytes + ring_bytes;
inline constexpr std::size_t memory_bytes = control_bytes + 2 * ring_bytes;
static_assert(control_bytes % page_bytes == 0);

/// Between a store and a later load of another word, which no order of theirs keeps in order.
inline void full_fence() noexcept {
#if defined(__SANITIZE_THREAD__)
  // ThreadSanitizer takes no fences. For the processor this operation is one. For the sanitizer it
  // orders nothing between threads, which is enough: what is read after a wake-up was released by
  // the store of its tail.
  std::atomic<int> unshared{0};
  unshared.fetch_add(1);
#else
  std::atomic_thread_fence(std::memory_order_seq_cst);
#endif
}

constexpr std::size_t frame_bytes(std::size_t payload) {
  return sizeof(frame_header) + (payload + 7) / 8 * 8;
}

}  // namespace troupe::detail
