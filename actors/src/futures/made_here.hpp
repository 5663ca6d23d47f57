// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/error.hpp"

#include "os/process_identity.hpp"

#include <atomic>
#include <cstdint>
#include <memory>
#include <utility>

namespace troupe::detail {

/// Deletes an object in the process that made it. In one that was forked from there the threads,
/// actors and workers behind it are not there to be ended, so that what is in its variables stays.
struct delete_where_made {
  std::uint32_t process = watched_fork_generation();

  [[nodiscard]] bool is_here() const noexcept { return process == fork_generation(); }
  /// @throws error{wrong_state}.
  void check_is_here() const {
    if (!is_here()) {
      throw error{errc::wrong_state, task_ran::no,
                  "troupe: this pool belongs to the process that this one was forked from, and "
                  "cannot be used here"};
    }
  }
  template <class T>
  void operator()(T* made) const noexcept {
    if (is_here()) {
      delete made;  // NOLINT(cppcoreguidelines-owning-memory): it is a deleter
    }
  }
};

template <class Core, class... Args>
std::shared_ptr<Core> make_here(Args&&... args) {
  return {new Core(std::forward<Args>(args)...), delete_where_made{}};
}

/// By a process that was forked from the one that made it.
template <class Core>
[[nodiscard]] bool is_inherited(const std::shared_ptr<Core>& made) noexcept {
  const auto* const deleter = std::get_deleter<delete_where_made>(made);
  return deleter != nullptr && !deleter->is_here();
}

/// @throws error{wrong_state}.
template <class Core>
void check_not_inherited(const std::shared_ptr<Core>& made) {
  if (const auto* const deleter = std::get_deleter<delete_where_made>(made)) {
    deleter->check_is_here();
  }
}

/// Keeps what must not be destroyed in this process until the process is gone; a leak checker finds
/// it. No locks: a forked child may have copies of locks that are held.
inline void keep_for_ever(std::shared_ptr<const void> what) {
  struct link {
    std::shared_ptr<const void> kept;
    link* next;
  };
  static constinit std::atomic<link*> all{nullptr};
  auto* const added = new link{std::move(what), all.load()};
  while (!all.compare_exchange_weak(added->next, added)) {
  }
}
template <class T, class Deleter>
void keep_for_ever(std::unique_ptr<T, Deleter> what) {
  keep_for_ever(std::shared_ptr<const void>{what.release(), [](const void*) {}});
}

}  // namespace troupe::detail
