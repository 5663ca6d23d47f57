// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/detail/engine.hpp"
#include "troupe/detail/open_map.hpp"

#include <memory>

namespace troupe {
struct shutdown_options;
struct shutdown_report;
}  // namespace troupe

namespace troupe::detail {

/// How an executor ends the pool below it. Of one that was moved from all members but `end` throw
/// error{no_state}.
class executor_end {
 public:
  explicit executor_end(engine_ptr pool);
  ~executor_end();
  executor_end(executor_end&&) noexcept;
  executor_end& operator=(executor_end&&) = delete;

  shutdown_report shutdown(const shutdown_options& how);
  void terminate_workers();
  void kill_workers();
  /// Closes and waits for all; drops what has not begun if an exception leaves the executor's
  /// scope. For the destructor.
  void end() noexcept;

  /// The maps of which the executor pulls the input before it ends.
  [[nodiscard]] const std::shared_ptr<open_maps>& open() const;

 private:
  struct state;
  /// @throws error{no_state}.
  [[nodiscard]] state& checked_not_moved_from() const;
  /// @throws error{no_state}; pool_closed in a forked child.
  [[nodiscard]] state& checked() const;
  std::unique_ptr<state> state_;
};

}  // namespace troupe::detail
