// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/detail/descriptor.hpp"

#include "process/exit_notice.hpp"

#include <cstdint>

namespace troupe::detail {

/// Hears of a process that was launched, as a pool does of its workers, and a `process` of itself.
/// Called on the reactor's thread.
class process_observer {
 public:
  virtual ~process_observer() = default;
  /// `pidfd`: only of those for which it was asked.
  virtual void started(std::uint64_t worker, std::int64_t pid, descriptor pidfd) = 0;
  virtual void start_failed(std::uint64_t worker, int code) = 0;
  virtual void ended(std::uint64_t worker, const exit_notice& notice) = 0;
};

/// A process of the user's, between its start and its end: it goes on without its handles.
class running_process : public process_observer {};

}  // namespace troupe::detail
