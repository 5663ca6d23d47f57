// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/detail/descriptor.hpp"

#include "process/exit_notice.hpp"

#include <cstdint>

namespace troupe::detail {

/// Is told what becomes of a process that was launched: a pool for each of its workers, a `process`
/// for itself.
///
/// @threads the reactor's, all members.
class process_observer {
 public:
  virtual ~process_observer() = default;
  /// `pidfd`: set only for processes for which one was asked.
  virtual void started(std::uint64_t worker, std::int64_t pid, descriptor pidfd) = 0;
  virtual void start_failed(std::uint64_t worker, int code) = 0;
  virtual void ended(std::uint64_t worker, const exit_notice& notice) = 0;
};

/// A `process` of the user between its start and its end, during which it needs no handle.
class running_process : public process_observer {};

}  // namespace troupe::detail
