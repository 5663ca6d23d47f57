// SPDX-License-Identifier: BSD-3-Clause
#include "channel/segment.hpp"

#include "troupe/error.hpp"

#include "os/process_identity.hpp"

#include <algorithm>
#include <cstring>
#include <string>
#include <utility>

namespace troupe::detail {
namespace {

std::atomic<std::uint64_t> next_segment_id{1};

std::size_t rounded(std::size_t bytes) {
  // Steps of an eighth of the next power of two: little waste, few different sizes.
  constexpr std::size_t least = 64 * 1024;
  if (bytes <= least) {
    return least;
  }
  std::size_t power = least;
  while (power < bytes) {
    power *= 2;
  }
  const std::size_t step = std::max<std::size_t>(power / 16, 4096);
  return (bytes + step - 1) / step * step;
}

}  // namespace

segment::segment(std::size_t capacity)
    : id_{next_segment_id.fetch_add(1, std::memory_order_relaxed)} {
  auto [writer, view] = create_payload_memory(rounded(capacity));
  reader_ = read_only_view(writer);
  view_ = std::move(view);
}

segment_pool::segment_pool(std::size_t max_idle_bytes)
    : max_idle_bytes_{max_idle_bytes}, process_{watched_fork_generation()} {}

std::shared_ptr<segment> segment_pool::acquire(std::size_t capacity) {
  std::unique_ptr<segment> found;
  {
    const mutex_guard lock{mutex_};
    auto best = idle_.end();
    for (auto it = idle_.begin(); it != idle_.end(); ++it) {
      const std::size_t size = (*it)->capacity();
      const bool released =
          (*it)->in_use == nullptr || (*it)->in_use->load(std::memory_order_acquire) == 0;
      if (released && size >= capacity && size / 4 <= capacity + inline_limit &&
          (best == idle_.end() || size < (*best)->capacity())) {
        best = it;
      }
    }
    if (best != idle_.end()) {
      found = std::move(*best);
      idle_.erase(best);
      idle_bytes_ -= found->capacity();
    }
  }
  if (!found) {
    found = std::make_unique<segment>(capacity);
  }
  return {found.release(), [pool = shared_from_this()](segment* used) {
            pool->give_back(std::unique_ptr<segment>{used});
          }};
}

std::size_t segment_pool::idle_bytes() const {
  const mutex_guard lock{mutex_};
  return idle_bytes_;
}

void segment_pool::keep_idle(bool keep) {
  std::vector<std::unique_ptr<segment>> dropped;  // unmapped after the lock is gone
  const mutex_guard lock{mutex_};
  keep_ = keep;
  if (!keep) {
    dropped.swap(idle_);
    idle_bytes_ = 0;
  }
}

void segment_pool::give_back(std::unique_ptr<segment> used) noexcept {
  if (process_ != fork_generation()) {
    return;  // a copy in a forked child, where the lock may be held for ever
  }
  std::vector<std::unique_ptr<segment>> dropped;  // unmapped after the lock is gone
  const mutex_guard lock{mutex_};
  if (!keep_) {
    dropped.push_back(std::move(used));
    return;
  }
  try {
    idle_bytes_ += used->capacity();
    idle_.push_back(std::move(used));
    while (idle_bytes_ > max_idle_bytes_ && !idle_.empty()) {
      idle_bytes_ -= idle_.front()->capacity();
      dropped.push_back(std::move(idle_.front()));
      idle_.erase(idle_.begin());
    }
  } catch (const std::bad_alloc&) {
    // Nothing is kept for reuse then; the segment is freed instead.
  }
}

namespace {

[[noreturn]] void throw_too_large(const char* what, std::size_t bytes, std::uint64_t limit) {
  throw error{errc::payload_too_large, task_ran::no,
              std::string{what} + " take at least " + std::to_string(bytes) +
                  " bytes encoded, the limit is " + std::to_string(limit) +
                  ": raise .max_payload_bytes of the pool, or send less"};
}

}  // namespace

submission_sink::~submission_sink() = default;

void submission_sink::begin(std::shared_ptr<segment_pool> segments, std::uint64_t max_part_bytes) {
  segments_ = std::move(segments);
  max_part_bytes_ = max_part_bytes;
  leave_segment();
  size_ = 0;
}

void submission_sink::begin_part(const char* what) {
  what_ = what;
  part_begin_ = size_ + sizeof(std::uint32_t);
  static_cast<void>(extend(sizeof(std::uint32_t)));
}

std::shared_ptr<segment> submission_sink::end_part(std::size_t& bytes) {
  if (!segment_) {
    bytes = size_ - part_begin_;
    check_size(bytes);
    if (bytes > inline_limit) {
      move_part_to_segment(bytes);
    }
  }
  std::uint32_t length = part_in_segment;
  auto used = std::move(segment_);
  if (used) {
    bytes = size_;
    data_ = heap_.get();
    capacity_ = heap_capacity_;
    size_ = part_begin_;
  } else {
    length = static_cast<std::uint32_t>(bytes);
  }
  std::memcpy(data_ + part_begin_ - sizeof length, &length, sizeof length);
  return used;
}

void submission_sink::abandon_part() noexcept {
  leave_segment();
  size_ = part_begin_ - sizeof(std::uint32_t);
}

std::unique_ptr<std::byte[]> submission_sink::take_bytes() {
  // Less is copied faster than a new buffer grows.
  constexpr std::size_t worth_giving_away = 4096;
  std::unique_ptr<std::byte[]> taken;
  if (size_ >= worth_giving_away && size_ >= heap_capacity_ / 2) {
    taken = std::move(heap_);
    // The next submission most likely is as large.
    first_capacity_ = heap_capacity_;
    heap_capacity_ = 0;
    data_ = nullptr;
    capacity_ = 0;
  } else {
    taken = std::make_unique_for_overwrite<std::byte[]>(size_);
    std::memcpy(taken.get(), data_, size_);
  }
  size_ = 0;
  return taken;
}

void submission_sink::leave_segment() noexcept {
  segment_.reset();
  data_ = heap_.get();
  capacity_ = heap_capacity_;
}

void submission_sink::check_size(std::size_t bytes) const {
  if (bytes > max_part_bytes_) {
    throw_too_large(what_, bytes, max_part_bytes_);
  }
}

void submission_sink::move_part_to_segment(std::size_t capacity) {
  auto fresh = segments_->acquire(capacity);
  const std::size_t have = size_ - part_begin_;
  std::memcpy(fresh->data(), data_ + part_begin_, have);
  segment_ = std::move(fresh);
  data_ = segment_->data();
  capacity_ = segment_->capacity();
  size_ = have;
}

void submission_sink::grow(std::size_t min_capacity) {
  if (segment_) {
    check_size(min_capacity);
    auto larger = segments_->acquire(std::max(min_capacity, capacity_ + capacity_ / 2));
    std::memcpy(larger->data(), data_, size_);
    segment_ = std::move(larger);
    data_ = segment_->data();
    capacity_ = segment_->capacity();
    return;
  }
  if (size_ >= part_begin_ && min_capacity > part_begin_ + inline_limit) {
    // Encoders announce large arrays whole, so the first step is usually the last.
    check_size(min_capacity - part_begin_);
    move_part_to_segment(min_capacity - part_begin_);
    return;
  }
  const std::size_t capacity =
      std::max({min_capacity, 2 * heap_capacity_, heap_ ? 0 : first_capacity_});
  std::unique_ptr<std::byte[]> larger{new std::byte[capacity]};
  if (size_ > 0) {
    std::memcpy(larger.get(), data_, size_);
  }
  heap_ = std::move(larger);
  heap_capacity_ = capacity;
  data_ = heap_.get();
  capacity_ = capacity;
}

payload_sink::payload_sink(std::shared_ptr<segment_pool> segments, std::uint64_t max_bytes,
                           const char* what)
    : segments_{std::move(segments)}, max_bytes_{max_bytes}, what_{what} {}

payload_sink::~payload_sink() = default;

void payload_sink::check_limit() const {
  if (size_ > max_bytes_) {
    throw_too_large(what_, size_, max_bytes_);
  }
}

void payload_sink::clear() noexcept {
  segment_.reset();
  data_ = heap_.get();
  capacity_ = heap_capacity_;
  size_ = 0;
}

void payload_sink::grow(std::size_t min_capacity) {
  if (min_capacity > max_bytes_) {
    throw_too_large(what_, min_capacity, max_bytes_);
  }
  if (min_capacity <= inline_limit) {
    const std::size_t capacity =
        std::min(inline_limit, std::max<std::size_t>({256, min_capacity, 2 * heap_capacity_}));
    // new[] without parentheses: the bytes stay uninitialised until they are written.
    std::unique_ptr<std::byte[]> larger{new std::byte[capacity]};
    if (size_ > 0) {
      std::memcpy(larger.get(), data_, size_);
    }
    heap_ = std::move(larger);
    heap_capacity_ = capacity;
    data_ = heap_.get();
    capacity_ = capacity;
    return;
  }
  // The first step into a segment takes what is asked for: encoders announce large arrays whole.
  const std::size_t wanted =
      segment_ ? std::max(min_capacity, capacity_ + capacity_ / 2) : min_capacity;
  auto larger = segments_->acquire(static_cast<std::size_t>(
      std::min<std::uint64_t>(wanted, std::max<std::uint64_t>(max_bytes_, min_capacity))));
  if (size_ > 0) {
    std::memcpy(larger->data(), data_, size_);
  }
  segment_ = std::move(larger);
  data_ = segment_->data();
  capacity_ = segment_->capacity();
}

}  // namespace troupe::detail
