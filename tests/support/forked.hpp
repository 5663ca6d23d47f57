// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <sys/types.h>

#include <functional>

namespace troupe::test {

/// A copy of this process that runs one function and leaves without running destructors or exit
/// handlers. It has what this process has: shared objects among it.
class forked {
 public:
  /// The child exits with what `body` returns, with 100 if it throws.
  explicit forked(const std::function<int()>& body);
  /// Kills and reaps it, unless that was done.
  ~forked();
  forked(const forked&) = delete;
  forked& operator=(const forked&) = delete;

  [[nodiscard]] pid_t pid() const noexcept { return pid_; }
  /// Its exit code, or 1000 and the signal that ended it.
  int wait();
  /// SIGKILL, and wait().
  int kill();
  void signal(int number) const;
  /// Dead, but not reaped: a zombie.
  void kill_without_reaping();

 private:
  pid_t pid_;
  int status_ = -1;
};

/// For a child that shall be killed where it is.
[[noreturn]] int sleep_until_killed();

/// A pipe through which processes tell each other that they got somewhere.
class signpost {
 public:
  signpost();
  ~signpost();
  signpost(const signpost&) = delete;
  signpost& operator=(const signpost&) = delete;

  void reached() const noexcept;
  /// Blocks until another process has been there once more.
  void await() const;

 private:
  int read_ = -1;
  int write_ = -1;
};

}  // namespace troupe::test
