// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "caf/caf.hpp"

#include <functional>
#include <memory>

namespace troupe::detail {

/// The actor system that all thread pools of a process share: made with the first, and kept until
/// the process ends, because the last future of a pool may go on one of its own threads, which
/// cannot wait for itself. Its threads sleep. It is not the runtime's, so that thread pools need no
/// troupe::system and may outlive it.
class thread_actors {
 public:
  static thread_actors& get();
  thread_actors(const thread_actors&) = delete;
  thread_actors& operator=(const thread_actors&) = delete;

  [[nodiscard]] caf::actor_system& system() noexcept { return *system_; }

  /// An actor with a thread of its own that calls `turn` for each message that `wake` sends, until
  /// `turn` returns false. Both run with all signals blocked.
  caf::actor spawn(std::function<bool()> turn);
  static void wake(const caf::actor& sleeping);

 private:
  thread_actors();
  ~thread_actors() = default;

  std::unique_ptr<caf::actor_system_config> config_;
  std::unique_ptr<caf::actor_system> system_;
};

}  // namespace troupe::detail
