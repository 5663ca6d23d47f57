// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/policy.hpp"
#include "troupe/start_method.hpp"

#include "channel/channel.hpp"
#include "host/process_observer.hpp"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

namespace caf {
class actor_system;
}

namespace troupe::detail {

class callback_threads;
class segment_pool;

/// The interface through which a pool's supervisor starts and signals workers, watches their
/// sockets and reads the clock. `runtime` implements it; tests have one without processes and with
/// a clock of their own.
///
/// @threads any, all members.
class worker_host {
 public:
  worker_host() = default;
  worker_host(const worker_host&) = delete;
  worker_host& operator=(const worker_host&) = delete;
  virtual ~worker_host() = default;

  /// Returns a number that no worker has had. `owner` is told what becomes of that worker's
  /// process.
  virtual std::uint64_t enroll(const std::shared_ptr<process_observer>& owner) = 0;
  /// The owner is told nothing more of that worker.
  virtual void dismiss(std::uint64_t worker) = 0;
  /// Calls `ready` after each arrival at the socket of a worker's channel, on any thread, until
  /// `unwatch`.
  virtual void watch(int socket, std::function<void()> ready) = 0;
  virtual void unwatch(int socket) = 0;

  struct start_order {
    std::uint64_t worker = 0;
    start_method method{};
    channel_ends ends{};
    /// Its stderr goes through a pipe, if descriptors are left for that and for so many workers
    /// that are to come. Unset: it has this process's.
    std::optional<std::size_t> capture_stderr_and_leave_for{};
  };
  /// Starts a process; its owner is told how that ended, later.
  virtual void launch(start_order what) = 0;
  /// Sends a signal to the worker's process group; does nothing if the process has ended.
  virtual void signal(std::uint64_t worker, int number) = 0;

  [[nodiscard]] virtual steady_time now() const = 0;
  /// Calls `function` then or soon after, on any thread.
  virtual void call_at(steady_time when, std::function<void()> function) = 0;

  /// This machine's name in texts.
  [[nodiscard]] virtual const std::string& host_name() const = 0;
  /// Memory that a worker's process holds now.
  [[nodiscard]] virtual std::uint64_t resident_bytes(std::int64_t pid) const = 0;
};

/// What a pool needs of the process beside that; `runtime` implements it.
class pool_host : public worker_host {
 public:
  [[nodiscard]] virtual caf::actor_system& actors() noexcept = 0;
  /// The threads of its pools' callbacks.
  [[nodiscard]] virtual const std::shared_ptr<callback_threads>& callbacks() const noexcept = 0;
  [[nodiscard]] virtual const std::shared_ptr<segment_pool>& segments() const noexcept = 0;
  /// True: the calling thread may wait for the end of a pool. False in a process that was forked
  /// from the pool's, where its threads do not exist, and on the reactor's thread.
  [[nodiscard]] virtual bool can_wait() const noexcept = 0;
  /// A pool has ended. After the last one, memory kept for reuse is freed.
  virtual void pool_ended() = 0;
};

}  // namespace troupe::detail
