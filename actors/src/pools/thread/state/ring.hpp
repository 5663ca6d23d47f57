// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <cstddef>
#include <memory>
#include <utility>

namespace troupe::detail {

/// A queue in one block that grows. Its members, which both ends need, are in one cache line; those
/// of a std::deque are in two or three, for which threads at both ends would wait. Has no lock.
template <class T>
class ring {
 public:
  ring() = default;
  ring(ring&& other) noexcept
      : slots_{std::move(other.slots_)},
        room_{std::exchange(other.room_, 0)},
        first_{std::exchange(other.first_, 0)},
        size_{std::exchange(other.size_, 0)} {}
  ring& operator=(ring&& other) noexcept {
    ring moved{std::move(other)};
    std::swap(slots_, moved.slots_);
    std::swap(room_, moved.room_);
    std::swap(first_, moved.first_);
    std::swap(size_, moved.size_);
    return *this;
  }
  ring(const ring&) = delete;
  ring& operator=(const ring&) = delete;
  ~ring() = default;

  [[nodiscard]] bool empty() const noexcept { return size_ == 0; }
  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  /// Counted from the front.
  [[nodiscard]] T& operator[](std::size_t index) { return slots_[(first_ + index) & (room_ - 1)]; }
  [[nodiscard]] T& front() { return (*this)[0]; }
  [[nodiscard]] const T& front() const { return slots_[first_ & (room_ - 1)]; }

  void push_back(T value) {
    if (size_ == room_) {
      move_to(room_ == 0 ? least : 2 * room_);
    }
    (*this)[size_] = std::move(value);
    ++size_;
  }
  void pop_front() {
    front() = T{};
    first_ = (first_ + 1) & (room_ - 1);
    if (--size_ == 0 && room_ > much) {
      *this = {};  // a burst is over
    }
  }

  /// Removes those of which `is_one` says so, and gives them to `take`; the others keep their order.
  template <class IsOne, class Take>
  void remove_if(const IsOne& is_one, const Take& take) {
    for (std::size_t left = size_; left > 0; --left) {
      T value = std::move(front());
      pop_front();
      if (is_one(value)) {
        take(std::move(value));
      } else {
        push_back(std::move(value));
      }
    }
  }

 private:
  static constexpr std::size_t least = 16;  // powers of two
  static constexpr std::size_t much = 4096;

  void move_to(std::size_t room) {
    auto larger = std::make_unique<T[]>(room);
    for (std::size_t i = 0; i < size_; ++i) {
      larger[i] = std::move((*this)[i]);
    }
    slots_ = std::move(larger);
    room_ = room;
    first_ = 0;
  }

  std::unique_ptr<T[]> slots_;
  std::size_t room_ = 0;
  std::size_t first_ = 0;
  std::size_t size_ = 0;
};

}  // namespace troupe::detail
