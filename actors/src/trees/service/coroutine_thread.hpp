// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <asio/io_context.hpp>
#include <atomic>
#include <functional>

namespace troupe::detail {

struct service_state;

/// The loop in which coroutines that are services run, one of them at a time. What is left in it goes
/// with it.
///
/// @threads those that run it, one at a time; `io`, `end` and `runs` any.
class coroutine_thread {
 public:
  coroutine_thread();
  ~coroutine_thread();
  coroutine_thread(const coroutine_thread&) = delete;
  coroutine_thread& operator=(const coroutine_thread&) = delete;

  [[nodiscard]] asio::io_context& io() noexcept { return io_; }
  /// Runs what comes, until `end`.
  void run();
  /// Runs what comes, until that is so.
  void run_until(const std::function<bool()>& over);
  /// Runs what is ready now; false: nothing was.
  bool run_ready();
  void end() { io_.stop(); }
  /// Destroys the coroutines that are left.
  void drop_rest();
  /// Whether it runs code of that service now.
  [[nodiscard]] bool runs(const service_state& service) const noexcept {
    return running_.load(std::memory_order_relaxed) == &service;
  }
  [[nodiscard]] std::atomic<const service_state*>& running() noexcept { return running_; }

 private:
  /// Its services, which are what coroutines wait in, can be emptied before it is destroyed.
  class emptied_context : public asio::io_context {
   public:
    emptied_context() : asio::io_context{1} {}
    void empty() { shutdown(); }
  };
  emptied_context io_;
  std::atomic<const service_state*> running_{nullptr};
};

}  // namespace troupe::detail
