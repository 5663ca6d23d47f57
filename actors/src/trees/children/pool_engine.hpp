// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "base/thread_safety.hpp"
#include "trees/children/child_engine.hpp"

#include <functional>
#include <memory>
#include <string>

namespace troupe::detail {

/// How a pool is made. `made` is called as soon as it can be ended from outside, before its workers
/// are there.
using pool_maker = std::function<engine_ptr(const std::function<void(const engine_ptr&)>& made)>;

/// A run of a pool, of processes or of threads. It has a thread, which waits for its start and then
/// for its end: both may take as long as code of the user does.
class pool_engine final : public child_engine, public std::enable_shared_from_this<pool_engine> {
 public:
  pool_engine(child_run how, std::shared_ptr<const pool_maker> make);

  void start() override;
  void ask_to_stop() override;
  void kill() override;
  [[nodiscard]] engine_ptr workers() const override;

 private:
  void run() noexcept;
  /// Tells a pool that has just been made what was asked meanwhile.
  void take(const engine_ptr& made);
  child_death serve();

  const child_run how_;
  const std::shared_ptr<const pool_maker> make_;
  mutable guarded_mutex mutex_;
  engine_ptr pool_ TROUPE_GUARDED_BY(mutex_);  // while it can be ended
  bool up_ TROUPE_GUARDED_BY(mutex_) = false;
  bool asked_ TROUPE_GUARDED_BY(mutex_) = false;
  bool killed_ TROUPE_GUARDED_BY(mutex_) = false;
};

}  // namespace troupe::detail
