// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <functional>
#include <string>

// Processes that troupe knows nothing about: what the peers in the table run in.
namespace bench {

/// A forked child that runs `body` with one end of a socketpair and ends; killed by the destructor.
class plain_child {
 public:
  /// `body` may only make system calls: this process has threads that the child has not.
  explicit plain_child(void (*body)(int socket));
  ~plain_child();
  plain_child(const plain_child&) = delete;
  plain_child& operator=(const plain_child&) = delete;

  [[nodiscard]] int socket() const { return socket_; }

 private:
  pid_t pid_ = -1;
  int socket_ = -1;
};

/// Runs `body`, which goes on with the shared objects it finds, in a forked process; killed by the
/// destructor.
class forked_child {
 public:
  explicit forked_child(const std::function<void()>& body);
  ~forked_child();
  forked_child(const forked_child&) = delete;
  forked_child& operator=(const forked_child&) = delete;

 private:
  pid_t pid_;
};

/// Sends back every 64 bytes.
void echo_64(int socket);
/// From SIGKILL to the pidfd of a small sleeping process being readable: the kernel's own notice.
double seconds_to_notice_kill();

/// The program of peer.py: a line asks for a measurement, a line answers with its seconds.
class python_peer {
 public:
  python_peer();
  ~python_peer();
  python_peer(const python_peer&) = delete;
  python_peer& operator=(const python_peer&) = delete;

  /// There is a python3 and it answered.
  [[nodiscard]] bool there() const { return !version_.empty(); }
  [[nodiscard]] const std::string& version() const { return version_; }
  /// What peer.py calls `what`, `times` times; in seconds.
  double seconds(const std::string& what, int times);

 private:
  std::string ask(const std::string& line);

  pid_t pid_ = -1;
  int to_ = -1;
  int from_ = -1;
  std::string version_;
};

/// Runs a program with its output thrown away; its exit code, -1 if it could not be started.
int run_quietly(const std::string& shell_command);

}  // namespace bench
