// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/child_spec.hpp"
#include "troupe/detail/descriptor.hpp"

#include "channel/crash_record.hpp"
#include "process/exit_notice.hpp"
#include "processes/process_core.hpp"
#include "trees/child_engine.hpp"
#include "trees/service/service_child.hpp"
#include "trees/watchdog.hpp"

#include <atomic>
#include <memory>
#include <optional>
#include <string>

namespace troupe::detail {

class runtime;

/// What a process or a service runs, and how it is watched.
struct process_plan {
  bool service = false;
  bound_call target{};
  std::optional<start_method> start{};
  bool ready_at_start = true;
  std::optional<std::chrono::milliseconds> watchdog{};
  std::optional<std::chrono::milliseconds> every{};
  bound_call probe{};
  std::chrono::milliseconds probe_interval{};
  std::chrono::milliseconds probe_timeout{};
};

/// A run of a function in a process of its own, plain or as a service.
class process_engine final : public child_engine,
                             public std::enable_shared_from_this<process_engine> {
 public:
  process_engine(child_run how, std::shared_ptr<const process_plan> plan);
  ~process_engine() override;

  void start() override;
  void ask_to_stop() override;
  void kill() override;
  [[nodiscard]] std::int64_t pid() const override { return pid_; }

 private:
  void on_line(line_kind what, const std::string& text);
  void on_end(const exit_notice& notice, const std::optional<crash_report>& crash);
  /// It does not do what it should: ends it by that signal, and after a while by SIGKILL.
  void put_down(end_cause because, std::string text, int signal);
  void look();
  void set_alarm();
  void read_line();

  const child_run how_;
  const std::shared_ptr<const process_plan> plan_;
  std::shared_ptr<runtime> runtime_;
  std::shared_ptr<process_core> process_;
  descriptor line_;
  std::atomic<std::int64_t> pid_{0};
  // The loop's thread's.
  std::optional<watchdog> beats_;
  std::optional<watchdog> probes_;
  std::optional<steady_time> alarm_;
  std::optional<child_death> because_;  // of `put_down`, or what left its function
  bool alive_ = false;
};

}  // namespace troupe::detail
