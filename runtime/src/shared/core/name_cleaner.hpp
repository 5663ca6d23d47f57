// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "base/thread_safety.hpp"
#include "shared/core/name_watch.hpp"

#include <cstddef>
#include <functional>
#include <memory>
#include <utility>

namespace troupe::detail {

/// Removes the names of shared memory whose processes are all dead, while the program runs. It
/// looks for them on a thread of its own, which ends when there is nothing more to look for: a
/// folder with many files of other programs holds up nothing else.
///
/// @threads any.
class name_cleaner {
 public:
  /// Looks through the folder, and returns how many names of this library's memory stay there.
  using look = std::function<std::size_t()>;

  /// Names that are older than this object are left to the guardians of their programs.
  explicit name_cleaner(look through);
  /// Waits for the look that is under way.
  ~name_cleaner();
  name_cleaner(const name_cleaner&) = delete;
  name_cleaner& operator=(const name_cleaner&) = delete;

  /// Asks for a look, if a name can have been left in the folder; returns at once. Where no thread
  /// can be started, the names stay until the next call, or until the guardian looks.
  void after_a_death() noexcept;

 private:
  struct state {
    explicit state(look what) : through{std::move(what)} {}
    const look through;
    guarded_mutex mutex;
    guarded_condition changed;
    name_watch watch TROUPE_GUARDED_BY(mutex);
    bool is_running TROUPE_GUARDED_BY(mutex) = false;
    bool is_asked TROUPE_GUARDED_BY(mutex) = false;
    bool is_over TROUPE_GUARDED_BY(mutex) = false;
  };
  static void run(state& shared);

  const std::shared_ptr<state> state_;
};

}  // namespace troupe::detail
