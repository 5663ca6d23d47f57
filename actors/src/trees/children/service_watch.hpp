// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/child_status.hpp"

#include "trees/children/child_engine.hpp"
#include "trees/children/process_plan.hpp"
#include "trees/children/watchdog.hpp"
#include "trees/service/service_protocol.hpp"

#include <functional>
#include <memory>
#include <optional>
#include <string>

namespace troupe::detail {

/// Hears what a run of a service says, and concludes when it does not do what it should.
///
/// @threads the tree's, all members.
class service_watch : public std::enable_shared_from_this<service_watch> {
 public:
  /// `put_down` is called at most once: the run is to be ended, by force if it hangs.
  service_watch(child_run how, std::shared_ptr<const process_plan> plan,
                std::function<void(bool hangs)> put_down);

  void on_line(line_kind what, const std::string& text);
  /// Sets the alarm for what is expected next.
  void set_alarm();
  /// The run has ended, or is ended: nothing is expected any more.
  void end();
  /// Why it was put down, or what left its function.
  [[nodiscard]] const std::optional<child_death>& because() const noexcept { return because_; }

 private:
  void look();
  void conclude(end_cause cause, std::string text, bool hangs);

  const child_run how_;
  const std::shared_ptr<const process_plan> plan_;
  const std::function<void(bool)> put_down_;
  std::optional<watchdog> beats_;
  std::optional<watchdog> probes_;
  std::optional<steady_time> alarm_;
  std::optional<child_death> because_;
  bool over_ = false;
};

}  // namespace troupe::detail
