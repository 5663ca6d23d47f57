// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/detail/byte_sink.hpp"
#include "troupe/detail/descriptor.hpp"
#include "troupe/detail/memory.hpp"

#include "base/thread_safety.hpp"

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

namespace troupe::detail {

/// Shared memory that this process alone writes; others read what it says is finished.
class segment {
 public:
  explicit segment(std::size_t capacity);

  [[nodiscard]] std::uint64_t id() const noexcept { return id_; }
  [[nodiscard]] std::byte* data() const noexcept { return view_.data(); }
  [[nodiscard]] std::size_t capacity() const noexcept { return view_.size(); }
  /// What a reader maps; cannot be mapped for writing.
  [[nodiscard]] const descriptor& reader() const noexcept { return reader_; }

  /// For a result: the byte in the control page that its reader sets to 0 when it is done.
  std::atomic<std::uint8_t>* in_use = nullptr;

 private:
  std::uint64_t id_;
  descriptor reader_;
  mapping view_;
};

/// Segments for reuse: a fresh one costs its pages, a used one nothing. The pool lives at least as
/// long as its segments, which come back by themselves.
///
/// @threads any.
class segment_pool : public std::enable_shared_from_this<segment_pool> {
 public:
  explicit segment_pool(std::size_t max_idle_bytes);

  /// A segment of at least `capacity` bytes; goes back to the pool with its last owner.
  ///
  /// @throws error{resource_exhausted}.
  std::shared_ptr<segment> acquire(std::size_t capacity);

  /// Bytes kept for reuse right now.
  [[nodiscard]] std::size_t idle_bytes() const;
  /// Whether used segments are kept; switching it off frees the idle ones.
  void keep_idle(bool keep);

 private:
  void give_back(std::unique_ptr<segment> used) noexcept;

  std::size_t max_idle_bytes_;
  const std::uint32_t process_;  ///< its `fork_generation`
  mutable guarded_mutex mutex_;
  std::vector<std::unique_ptr<segment>> idle_ TROUPE_GUARDED_BY(mutex_);
  std::size_t idle_bytes_ TROUPE_GUARDED_BY(mutex_) = 0;
  bool keep_ TROUPE_GUARDED_BY(mutex_) = true;
};

/// Payloads of at least this size travel in segments, smaller ones inside their frame.
inline constexpr std::size_t inline_limit = 16 * 1024;

/// Several parts one behind the other, each a 32-bit length and its bytes; a part that outgrows
/// `inline_limit` goes to a segment of its own, and its length is `part_in_segment`, followed by
/// what the caller appends to say where.
class submission_sink final : public byte_sink {
 public:
  submission_sink() = default;
  ~submission_sink() override;

  /// Empty again; keeps the memory. Parts are limited to `max_part_bytes`.
  void begin(std::shared_ptr<segment_pool> segments, std::uint64_t max_part_bytes);
  void begin_part(const char* what);
  /// Null: the part is inline. Else the segment with its `bytes` bytes.
  std::shared_ptr<segment> end_part(std::size_t& bytes);
  /// Drops the part that was begun.
  void abandon_part() noexcept;
  /// All that is not in segments, in a buffer that is hardly larger: the sink's own, which is given
  /// away, or a copy of what is little, so that the sink keeps its memory. The sink is empty then.
  [[nodiscard]] std::unique_ptr<std::byte[]> take_bytes();

  static constexpr std::uint32_t part_in_segment = 0xFFFF'FFFF;

 protected:
  void grow(std::size_t min_capacity) override;

 private:
  void check_size(std::size_t bytes) const;
  void move_part_to_segment(std::size_t capacity);
  void leave_segment() noexcept;

  std::shared_ptr<segment_pool> segments_;
  std::uint64_t max_part_bytes_ = 0;
  const char* what_ = "";
  std::unique_ptr<std::byte[]> heap_;
  std::size_t heap_capacity_ = 0;
  std::size_t first_capacity_ = 512;
  std::size_t part_begin_ = 0;  ///< where its bytes begin on the heap
  std::shared_ptr<segment> segment_;
};

/// A buffer that starts on the heap and moves to a segment when it outgrows `inline_limit`.
class payload_sink final : public byte_sink {
 public:
  /// Takes at most `max_bytes`; beyond that writing throws error{payload_too_large} with `what` in
  /// its text.
  payload_sink(std::shared_ptr<segment_pool> segments, std::uint64_t max_bytes, const char* what);
  ~payload_sink() override;
  payload_sink(const payload_sink&) = delete;
  payload_sink& operator=(const payload_sink&) = delete;

  /// Starts again, keeping the heap buffer.
  void clear() noexcept;
  void limit(std::uint64_t max_bytes) noexcept { max_bytes_ = max_bytes; }
  /// Looks whether more than the limit was written, which is possible because buffers have some
  /// slack.
  ///
  /// @throws error{payload_too_large}.
  void check_limit() const;
  /// The segment with the bytes, null when they are on the heap.
  [[nodiscard]] const std::shared_ptr<segment>& in_segment() const noexcept { return segment_; }

 protected:
  void grow(std::size_t min_capacity) override;

 private:
  std::shared_ptr<segment_pool> segments_;
  std::uint64_t max_bytes_;
  const char* what_;
  std::unique_ptr<std::byte[]> heap_;
  std::size_t heap_capacity_ = 0;
  std::shared_ptr<segment> segment_;
};

}  // namespace troupe::detail
