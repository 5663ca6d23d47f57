// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <sys/types.h>

#include <functional>

namespace troupe::test {

/// A child process that runs a function on what it inherited, and ends without anything of
/// GoogleTest's: for what lies below process starting. Killed and reaped at the latest by the
/// destructor.
class forked {
 public:
  /// `body` returns the exit code; an exception prints its text and makes it 99.
  explicit forked(const std::function<int()>& body);
  ~forked();
  forked(forked&& other) noexcept;
  forked& operator=(forked&&) = delete;
  forked(const forked&) = delete;
  forked& operator=(const forked&) = delete;

  [[nodiscard]] pid_t pid() const noexcept { return pid_; }
  /// Its exit code, or minus the number of the signal that ended it.
  int wait();
  /// Sends the signal; does not wait.
  void signal(int number) const;
  /// SIGKILL, and waits.
  void kill();

 private:
  pid_t pid_;
};

}  // namespace troupe::test
