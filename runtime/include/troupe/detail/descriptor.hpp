// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/detail/requirements.hpp"

#include <array>
#include <cstdint>
#include <utility>
#include <vector>

namespace troupe::detail {

/// The numbers of standard input, output and error are below it. If a program closed one of these,
/// the kernel gives its number to the file that is opened next. No descriptor of the library keeps
/// such a number, because code that uses the standard streams would read and write there.
inline constexpr int first_own_number = 3;

/// The same file under a number of the library's own, close-on-exec; `number` is closed unless it
/// is the one that is returned. -1, and errno tells why: there is none left.
int moved_to_own_number(int number) noexcept;

/// Raised where a forked child closes what it inherited: after that, a number from before may
/// belong to another file. Written while the child has one thread.
inline constinit std::uint32_t descriptor_table = 1;

/// Owns one file descriptor and closes it; the number is only for the layers' own system calls.
///
/// A process that the library forks closes nearly all that it inherits, while the objects that own
/// descriptors stay in its memory. There they own nothing: `number()` is -1, and their end closes
/// nothing. Those that `keep_in_children` was called for stay open, and are as they were.
class descriptor {
 public:
  descriptor() noexcept = default;
  /// Takes what a system call returned, errno included: -1 is nothing. A number below
  /// `first_own_number` is changed for another one, and nothing, with errno, if there is none.
  explicit descriptor(int number) noexcept : number_{own(number)}, table_{descriptor_table} {}
  descriptor(descriptor&& other) noexcept
      : number_{std::exchange(other.number_, -1)}, table_{other.table_} {}
  descriptor& operator=(descriptor&& other) noexcept {
    if (this != &other) {
      reset();
      number_ = std::exchange(other.number_, -1);
      table_ = other.table_;
    }
    return *this;
  }
  descriptor(const descriptor&) = delete;
  descriptor& operator=(const descriptor&) = delete;
  ~descriptor() { reset(); }

  [[nodiscard]] int number() const noexcept {
    return table_ == descriptor_table || table_ == every_table ? number_ : -1;
  }
  [[nodiscard]] explicit operator bool() const noexcept { return number() >= 0; }
  [[nodiscard]] int release() noexcept;
  /// Takes `number` as the constructor does.
  void reset(int number = -1) noexcept;

  /// Keeps it open in children that the library forks from this process, under the same number: for
  /// objects with handles that go on working there. Not for what has to end with its owner, as a
  /// socket with a peer that waits for the end of the stream.
  void keep_in_children() noexcept;

 private:
  static constexpr std::uint32_t every_table = 0;

  static int own(int number) noexcept {
    return number < 0 || number >= first_own_number ? number : moved_to_own_number(number);
  }

  int number_ = -1;
  std::uint32_t table_ = every_table;  ///< the `descriptor_table` in which it is `number_`
};

/// Numbers of what `keep_in_children` was called for, in order.
[[nodiscard]] std::vector<int> kept_in_children();

/// While it lives no number below `first_own_number` is free, so that a descriptor that other code
/// opens meanwhile (Asio, for its loops) gets a higher one. It also holds a lock, so keep it for a
/// short time only.
class low_numbers_taken {
 public:
  low_numbers_taken() noexcept;
  ~low_numbers_taken();
  low_numbers_taken(const low_numbers_taken&) = delete;
  low_numbers_taken& operator=(const low_numbers_taken&) = delete;

 private:
  std::array<std::uint64_t, first_own_number> taken_{};  ///< by which file; 0: not by this
};

}  // namespace troupe::detail
