// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/error.hpp"
#include "troupe/start_method.hpp"

#include "base/thread_safety.hpp"
#include "channel/channel.hpp"
#include "os/reactor.hpp"

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

namespace troupe::detail {

/// What a new worker process begins with.
struct worker_boot {
  std::uint64_t id = 0;
  start_method method{};
  channel_ends ends;
  bool is_process = false;   ///< of the user's own: SIGINT ends it, from its first moment
  std::int64_t program = 0;  ///< the pid of the program that it works for; 0: not known
};

/// What runs in a worker process; never returns.
using worker_entry = void (*)(worker_boot&&);

/// How a worker process ended.
struct exit_report {
  std::uint64_t worker = 0;
  std::int64_t pid = 0;
  std::optional<exit_status> status;  ///< nullopt: not known, because the fork server has ended
  std::optional<resource_usage> usage;
  bool with_server = false;  ///< it went with its fork server
};

/// What this program is, for starting it again.
struct program {
  std::vector<std::string> arguments;
  worker_entry entry = nullptr;
};

/// What this process was started as; for a worker that starts workers of its own.
const program& this_program();

/// Becomes a worker or a fork server in a process that was started to be one, and does not return
/// there. In other processes it does nothing. Called first in the constructor of troupe::system.
void take_role(const program& self);

namespace child {
struct message;
}

/// Starts, kills and reaps workers.
///
/// Workers are children of the fork server: a process without threads, forked before this one had
/// any (or executed anew if this one has threads already). It reaps the workers and reports how
/// they ended. It is also their guardian: when this process is gone, it kills every worker's
/// process group and all that they left, and leaves. start_method::fork makes children of this
/// process instead. A fork server in which static initializers have started threads executes its
/// workers anew.
///
/// @threads any. Events are called on the reactor's thread.
class launcher {
 public:
  struct events {
    /// `pidfd`: of the process, if it was asked for.
    std::function<void(std::uint64_t worker, std::int64_t pid, descriptor pidfd)> launched;
    std::function<void(std::uint64_t worker, int code)> failed;  ///< an errno
    std::function<void(const exit_report&)> exited;
  };

  /// Starts the fork server: construct it before any thread. `attach` comes later, with threads.
  explicit launcher(program self);
  /// Kills what is left and waits for it.
  ~launcher();
  launcher(const launcher&) = delete;
  launcher& operator=(const launcher&) = delete;

  void attach(reactor& loop, events callbacks);
  /// Stops calling back; before the reactor goes.
  void detach();

  /// Asks for a worker; `launched` or `failed` follows, then one `exited` for each launched. With
  /// ETIMEDOUT it failed because the fork server is stopped.
  void launch(std::uint64_t worker, start_method method, channel_ends ends,
              bool with_pidfd = false);
  /// Sends a signal to the worker's whole process group; nothing if it is already gone. A fork server
  /// that is stopped, and so does not carry out a SIGKILL, is killed after a while, and its workers
  /// end with it.
  void kill(std::uint64_t worker, int signal);

 private:
  struct forked_child {
    std::int64_t pid;
    descriptor pidfd;
  };

  void ensure_server() TROUPE_REQUIRES(mutex_);
  void start_server() TROUPE_REQUIRES(mutex_);
  void server_readable();
  void server_lost();
  void fork_here(std::uint64_t worker, channel_ends ends, bool with_pidfd);
  void reap_forked(std::uint64_t worker);
  void order_guard(bool guard, std::int64_t pid) TROUPE_REQUIRES(mutex_);
  /// Returns an errno.
  int send_surroundings() TROUPE_REQUIRES(mutex_);
  /// False, with errno: not sent. A server that is stopped is not waited for.
  bool ask_server(const child::message& request, std::span<const int> passed = {})
      TROUPE_REQUIRES(mutex_);
  void look_again_soon() TROUPE_REQUIRES(mutex_);
  /// Does what its end or its launch waits for if the server is stopped.
  void look_at_server();

  program self_;
  reactor* loop_ = nullptr;
  events events_;
  mutable guarded_mutex mutex_;
  descriptor server_ TROUPE_GUARDED_BY(mutex_);
  std::int64_t server_pid_ TROUPE_GUARDED_BY(mutex_) = -1;
  /// Pid 0: not yet known.
  std::map<std::uint64_t, std::int64_t> of_server_ TROUPE_GUARDED_BY(mutex_);
  /// Of the server, and not known to have ended.
  std::set<std::uint64_t> killed_ TROUPE_GUARDED_BY(mutex_);
  /// A timer for them is set.
  bool looks_again_ TROUPE_GUARDED_BY(mutex_) = false;
  /// In a row, at a server that is stopped.
  int looks_while_stopped_ TROUPE_GUARDED_BY(mutex_) = 0;
  std::map<std::uint64_t, forked_child> forked_ TROUPE_GUARDED_BY(mutex_);
  /// True: killed before its turn.
  std::map<std::uint64_t, bool> to_fork_ TROUPE_GUARDED_BY(mutex_);
  /// None: not known.
  std::optional<std::string> servers_environment_ TROUPE_GUARDED_BY(mutex_);
};

}  // namespace troupe::detail
