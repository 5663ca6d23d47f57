// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <string>

namespace troupe::detail {

/// A tree of supervisors for the runtime, which ends it before the pools and processes that it
/// knows.
class program_tree {
 public:
  program_tree() = default;
  program_tree(const program_tree&) = delete;
  program_tree& operator=(const program_tree&) = delete;
  virtual ~program_tree() = default;

  /// The program was told to stop by a signal: the first one stops the tree, the second one kills
  /// what is left. Does not wait.
  ///
  /// @threads the reactor's.
  virtual void on_stop_signal(const std::string& name, int count) = 0;
  /// The program ends.
  ///
  /// @blocks until the tree has ended.
  virtual void end() noexcept = 0;
};

}  // namespace troupe::detail
