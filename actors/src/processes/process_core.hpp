// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/detail/attachment.hpp"
#include "troupe/process.hpp"

#include "base/thread_safety.hpp"
#include "channel/channel.hpp"
#include "channel/worker_protocol.hpp"
#include "host/runtime.hpp"
#include "pools/root_child.hpp"

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace troupe::detail {

/// A `process` as its handles see it.
///
///   fresh ──start──▶ starting ──launched──▶ running ──exited──▶ ended ──close──▶ closed
///                        └── failed ──▶ fresh
class process_core final : public running_process,
                           public root_child,
                           public std::enable_shared_from_this<process_core> {
 public:
  process_core(process_options options, bound_call target);
  ~process_core() override;

  void start();
  bool wait(const deadline& until) const;
  [[nodiscard]] bool is_alive() const;
  [[nodiscard]] std::optional<troupe::exit_status> status() const;
  [[nodiscard]] std::int64_t pid() const;
  [[nodiscard]] const std::string& name() const noexcept { return options_.name; }
  [[nodiscard]] const process_options& options() const noexcept { return options_; }
  [[nodiscard]] int sentinel() const;
  void signal(int number);
  void close();
  /// Of a process that has a parent: is called once when it has ended, on the reactor's thread, with
  /// what the process noted of a crash. Set before the start.
  using end_listener =
      std::function<void(const exit_notice&, const std::optional<crash_report>& crash)>;
  void on_end(end_listener listener) { told_ = std::move(listener); }

  void started(std::uint64_t worker, std::int64_t pid, descriptor pidfd) override;
  void start_failed(std::uint64_t worker, int code) override;
  void ended(std::uint64_t worker, const exit_notice& notice) override;
  [[nodiscard]] child_status seen() const override;

 private:
  enum class state : std::uint8_t { fresh, starting, running, ended, closed };

  void check_owner() const;
  void check_started(const char* what) const TROUPE_REQUIRES(mutex_);
  void hand_over(supervisor_channel& channel);

  const process_options options_;
  bound_call target_;         ///< until it was started: what it refers to is the process's then
  const std::int64_t maker_;  ///< the only process in which this is a handle
  std::shared_ptr<runtime> runtime_;
  end_listener told_;
  mutable guarded_mutex mutex_;
  mutable guarded_condition changed_;
  state state_ TROUPE_GUARDED_BY(mutex_) = state::fresh;
  std::unique_ptr<supervisor_channel> channel_ TROUPE_GUARDED_BY(mutex_);  // its lifeline
  std::uint64_t worker_ TROUPE_GUARDED_BY(mutex_) = 0;
  std::int64_t pid_ TROUPE_GUARDED_BY(mutex_) = 0;
  descriptor pidfd_ TROUPE_GUARDED_BY(mutex_);
  std::optional<troupe::exit_status> status_ TROUPE_GUARDED_BY(mutex_);
  int start_code_ TROUPE_GUARDED_BY(mutex_) = 0;
};

/// Ends daemons, waits for the others, and ends those that are left when the time is over.
void end_processes(const runtime::running_processes& running,
                   std::chrono::milliseconds limit) noexcept;

/// Those of this program that were started and have not ended.
[[nodiscard]] std::vector<std::shared_ptr<process_core>> active_processes();

/// From now on `listener` is told of an exception that leaves the function of this process, before
/// stderr is. Set by that function, before it has threads.
void set_uncaught_listener(void (*listener)(const failure&));

/// In a process that got a `become` frame: runs the target and leaves.
[[noreturn]] void run_process(worker_channel& channel, const frame_header& frame,
                              std::span<const std::byte> payload);

}  // namespace troupe::detail
