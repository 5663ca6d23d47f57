// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "channel/crash_record.hpp"

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

namespace troupe::detail {

/// The bytes of a crash record. Zeros: nothing happened.
struct crash_layout {
  static constexpr std::uint32_t writing = 1;  ///< everything but the frames is there
  static constexpr std::uint32_t whole = 2;
  static constexpr std::uint32_t has_address = 1;
  static constexpr std::uint32_t at_stack_end = 2;
  static constexpr std::uint32_t no_text = 0xFFFF'FFFF;
  static constexpr std::size_t max_frames = 64;

  struct frame {
    std::uint64_t offset;
    std::uint32_t module;    ///< where its path begins in `texts`, or no_text
    std::uint32_t build_id;  ///< where the words for its build begin there, or no_text
  };

  std::atomic<std::uint32_t> state;
  std::uint32_t flags;
  std::int32_t signal;
  std::int32_t code;
  std::uint64_t address;
  std::uint32_t frame_count;
  std::uint32_t text_bytes;
  std::array<frame, max_frames> frames;
  std::array<char, crash_record_bytes - 32 - max_frames * sizeof(frame)> texts;  ///< each ends in 0
};
static_assert(sizeof(crash_layout) == crash_record_bytes);
static_assert(std::atomic<std::uint32_t>::is_always_lock_free);

}  // namespace troupe::detail
