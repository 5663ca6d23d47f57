// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <array>
#include <cstdint>
#include <utility>

namespace troupe::detail {

/// The numbers of standard input, output and error are below it. Where a program closed them, the
/// kernel gives them to whatever is opened next; nothing that the library opens keeps one of them,
/// because others read and write there.
inline constexpr int first_own_number = 3;

/// The same file under a number of the library's own, close-on-exec; `number` is closed unless it
/// is the one that is returned. -1, and errno tells why: there is none left.
int moved_to_own_number(int number) noexcept;

/// Owns one file descriptor and closes it; the number is only for the layers' own system calls.
class descriptor {
 public:
  descriptor() noexcept = default;
  /// Takes what a system call returned, errno included: -1 is nothing. A number below
  /// `first_own_number` is changed for another one, and nothing, with errno, if there is none.
  explicit descriptor(int number) noexcept : number_{own(number)} {}
  descriptor(descriptor&& other) noexcept : number_{std::exchange(other.number_, -1)} {}
  descriptor& operator=(descriptor&& other) noexcept {
    if (this != &other) {
      reset();
      number_ = std::exchange(other.number_, -1);
    }
    return *this;
  }
  descriptor(const descriptor&) = delete;
  descriptor& operator=(const descriptor&) = delete;
  ~descriptor() { reset(); }

  [[nodiscard]] int number() const noexcept { return number_; }
  [[nodiscard]] explicit operator bool() const noexcept { return number() >= 0; }
  [[nodiscard]] int release() noexcept { return std::exchange(number_, -1); }
  /// Takes `number` as the constructor does.
  void reset(int number = -1) noexcept;

 private:
  static int own(int number) noexcept {
    return number < 0 || number >= first_own_number ? number : moved_to_own_number(number);
  }

  int number_ = -1;
};

/// While it lives no number below `first_own_number` is free, so that what others open meanwhile
/// (Asio, for its loops) gets a higher one. For moments: it is a lock, too.
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
