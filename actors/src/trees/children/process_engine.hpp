// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/detail/descriptor.hpp"

#include "channel/crash_record.hpp"
#include "process/exit_notice.hpp"
#include "processes/process_core.hpp"
#include "trees/children/child_engine.hpp"
#include "trees/children/process_plan.hpp"
#include "trees/children/service_watch.hpp"

#include <atomic>
#include <memory>
#include <optional>

namespace troupe::detail {

class runtime;

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
  void on_end(const exit_notice& notice, const std::optional<crash_report>& crash);
  /// It does not do what it should: asks it, or has it write down where it hangs, and kills it after
  /// a while.
  void put_down(bool hangs);
  void read_line();

  const child_run how_;
  const std::shared_ptr<const process_plan> plan_;
  std::shared_ptr<runtime> runtime_;
  std::shared_ptr<process_core> process_;
  descriptor line_;
  std::atomic<std::int64_t> pid_{0};
  // The loop's thread's.
  std::shared_ptr<service_watch> watch_;
  bool alive_ = false;
};

}  // namespace troupe::detail
