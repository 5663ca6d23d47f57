// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/detail/futex.hpp"

#include <atomic>
#include <cstdint>
#include <functional>
#include <string>

namespace troupe::detail {

/// Starts a thread that ends by itself: its name is what `ps` and debuggers show (15 characters),
/// and all signals are blocked in it, so that the program's handlers do not run there.
///
/// @throws std::system_error where no thread can be started.
void start_thread(const std::string& name, std::function<void()> run);
/// The calling thread is one that the library has started in this process.
[[nodiscard]] bool is_library_thread() noexcept;
/// For threads that are not started by `start_thread`: from now on the calling one is the library's.
void note_library_thread() noexcept;
/// Gives the calling thread that name.
void name_this_thread(const std::string& name) noexcept;

/// While one lives, the calling thread does what other threads may wait for: it is the reactor's, or
/// runs a supervisor. A function of the user that waited there would wait for itself, so none is
/// called there, and no object of the user is destroyed there.
class no_user_code {
 public:
  no_user_code() noexcept;
  ~no_user_code();
  no_user_code(const no_user_code&) = delete;
  no_user_code& operator=(const no_user_code&) = delete;

  [[nodiscard]] static bool is_here() noexcept;

 private:
  std::uint32_t before_;
};

/// How a thread sleeps that other threads wake:
///
///     const auto seen = flag.look();
///     if (nothing to do) flag.sleep(seen);    // returns at once if wake was called since look
///
/// Waking takes no lock and, while the thread is awake, no system call.
class wake_flag {
 public:
  [[nodiscard]] std::uint32_t look() const noexcept { return word_.load(); }
  /// May return early for no reason. False: the deadline passed.
  bool sleep(std::uint32_t seen, const deadline& until = std::nullopt) noexcept {
    // Counted before the kernel compares the word: `wake` changes the word before it reads the
    // count, so that one of the two sees the other.
    sleepers_.fetch_add(1);
    const bool in_time = futex_wait(word_, seen, until);
    sleepers_.fetch_sub(1);
    return in_time;
  }
  void wake() noexcept {
    word_.fetch_add(1);
    if (sleepers_.load() != 0) {
      futex_wake_all(word_);
    }
  }

 private:
  std::atomic<std::uint32_t> word_{0};
  std::atomic<std::uint32_t> sleepers_{0};
};

}  // namespace troupe::detail
