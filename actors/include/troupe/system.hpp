// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <memory>

namespace troupe {

/// The first line of main: starts what all pools of the program stand on, and ends it.
///
/// In a process that was started to be a worker, the constructor runs the worker and never returns,
/// so that no child can run main again by accident. Elsewhere it starts the fork server, before the
/// program has threads, and then the actor system.
///
/// Threads: construct and destroy it in main's thread.    Crosses: no.
/// Blocks:  the destructor ends every pool that is left (as `terminate` does), then all processes.
/// Throws:  error{already_bootstrapped} if there is one; error{spawn_failed} or
///          error{resource_exhausted} if the system refuses.
class system {
 public:
  system(int argc, char** argv);
  ~system();
  system(const system&) = delete;
  system& operator=(const system&) = delete;

 private:
  std::shared_ptr<void> engine_;
};

}  // namespace troupe
