// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "trees/service/coroutine_thread.hpp"
#include "trees/service/service_host.hpp"

#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace troupe::detail {

/// Where the children of a tree run that are placed in this process: functions on a thread each,
/// coroutines on a few threads together. A test has its own, with its own time.
///
/// @threads the tree's, all members.
class service_threads {
 public:
  /// What a service says; on any thread.
  using listener = std::function<void(line_kind, std::string_view)>;

  service_threads() = default;
  /// Ends the threads of the coroutines, and destroys those that are left.
  ///
  /// @blocks until they have ended, but not for one that an abandoned service keeps.
  virtual ~service_threads();
  service_threads(const service_threads&) = delete;
  service_threads& operator=(const service_threads&) = delete;

  /// What a service in this process is to run in.
  [[nodiscard]] virtual std::shared_ptr<service_host> make_host(listener said);
  /// Runs a function that may block.
  ///
  /// @throws error{resource_exhausted}.
  virtual void start(const std::string& name, std::function<void()> run);
  /// Runs a function that code of the user may be in, for a moment most likely.
  virtual void run_aside(std::function<void()> run);
  /// The loop of the next coroutine; its thread runs.
  ///
  /// @throws error{resource_exhausted}.
  [[nodiscard]] virtual std::shared_ptr<coroutine_thread> next();
  /// A service in that loop does not end. If it keeps the thread, another one is started for the
  /// next services.
  void abandon(const std::shared_ptr<coroutine_thread>& where, const service_state& service);

 private:
  struct seat;
  std::vector<std::shared_ptr<seat>> seats_;
  std::size_t last_ = 0;
};

}  // namespace troupe::detail
