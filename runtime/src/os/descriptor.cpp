// SPDX-License-Identifier: BSD-3-Clause
#include "troupe/detail/descriptor.hpp"

#include "base/fork_safety.hpp"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <bit>
#include <cerrno>
#include <cstddef>
#include <memory>
#include <new>

namespace troupe::detail {
namespace {

constexpr std::size_t bits_per_word = 64;
constexpr std::size_t words_per_block = 64;
constexpr std::size_t bits_per_block = bits_per_word * words_per_block;
constexpr std::size_t blocks = 4096;  // 16 million numbers

using block = std::array<std::atomic<std::uint64_t>, words_per_block>;

/// A bit for each number that stays open in children. Without locks, as a child may be forked at
/// any time; blocks are made when they are needed, and stay.
constinit std::array<std::atomic<block*>, blocks> kept{};

block* block_of(std::size_t number) noexcept {
  std::atomic<block*>& at = kept[number / bits_per_block];
  block* there = at.load();
  if (there == nullptr) {
    std::unique_ptr<block> made{new (std::nothrow) block{}};
    if (made != nullptr && at.compare_exchange_strong(there, made.get())) {
      there = made.release();
    }
  }
  return there;
}

std::atomic<std::uint64_t>& word_in(block& all, std::size_t number) noexcept {
  return all[number % bits_per_block / bits_per_word];
}

std::uint64_t bit_of(std::size_t number) noexcept {
  return std::uint64_t{1} << number % bits_per_word;
}

/// False: the number is too high, or there is no memory.
bool note_kept(int number) noexcept {
  const auto at = static_cast<std::size_t>(number);
  block* const all = at < blocks * bits_per_block ? block_of(at) : nullptr;
  if (all == nullptr) {
    return false;
  }
  word_in(*all, at).fetch_or(bit_of(at));
  return true;
}

void forget_kept(int number) noexcept {
  const auto at = static_cast<std::size_t>(number);
  if (block* const all = kept[at / bits_per_block].load()) {
    word_in(*all, at).fetch_and(~bit_of(at));
  }
}

}  // namespace

std::vector<int> kept_in_children() {
  std::vector<int> found;
  for (std::size_t i = 0; i < blocks; ++i) {
    const block* const all = kept[i].load();
    for (std::size_t j = 0; all != nullptr && j < words_per_block; ++j) {
      for (std::uint64_t word = (*all)[j].load(); word != 0; word &= word - 1) {
        found.push_back(static_cast<int>(i * bits_per_block + j * bits_per_word) +
                        std::countr_zero(word));
      }
    }
  }
  return found;
}

int moved_to_own_number(int number) noexcept {
  if (number < 0 || number >= first_own_number) {
    return number;
  }
  const int moved = ::fcntl(number, F_DUPFD_CLOEXEC, first_own_number);
  const int code = errno;
  ::close(number);
  errno = code == EINVAL ? EMFILE : code;  // the limit is no higher than these numbers
  return moved;
}

int descriptor::release() noexcept {
  const int there = number();
  if (there >= 0 && table_ == every_table) {
    forget_kept(there);
  }
  number_ = -1;
  return there;
}

void descriptor::reset(int number) noexcept {
  // After close() the number is gone even when it reports EINTR (Linux), so it is never retried.
  if (const int old = release(); old >= 0) {
    const int code = errno;  // that of the call which returned `number`
    ::close(old);
    errno = code;
  }
  number_ = own(number);
  table_ = descriptor_table;
}

void descriptor::keep_in_children() noexcept {
  if (number() >= 0 && table_ != every_table && note_kept(number_)) {
    table_ = every_table;
  }
}

namespace {
fork_safe_mutex& low_numbers_mutex() {
  static auto* const one = new fork_safe_mutex;
  return *one;
}
[[maybe_unused]] const fork_safe_mutex& mutex_made_before_main = low_numbers_mutex();
}  // namespace

low_numbers_taken::low_numbers_taken() noexcept {
  low_numbers_mutex().lock();
  for (int number = 0; number < first_own_number; ++number) {
    if (::fcntl(number, F_GETFD) >= 0) {
      continue;
    }
    // A socket without a peer: code that reads or writes there meanwhile gets an error, as with a
    // closed descriptor.
    const int made = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct stat info{};
    if (made < 0 || made >= first_own_number || ::fstat(made, &info) != 0) {
      if (made >= 0) {
        ::close(made);
      }
      return;
    }
    taken_[static_cast<std::size_t>(made)] = info.st_ino;
  }
}

low_numbers_taken::~low_numbers_taken() {
  for (int number = 0; number < first_own_number; ++number) {
    const std::uint64_t taken = taken_[static_cast<std::size_t>(number)];
    struct stat info{};
    // Unless another thread has made something else of it meanwhile.
    if (taken != 0 && ::fstat(number, &info) == 0 && S_ISSOCK(info.st_mode) &&
        info.st_ino == taken) {
      ::close(number);
    }
  }
  low_numbers_mutex().unlock();
}

}  // namespace troupe::detail
