// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/detail/futex.hpp"
#include "troupe/detail/thread_safety.hpp"
#include "troupe/task_options.hpp"

#include <cstddef>
#include <memory>
#include <vector>

namespace troupe::detail {

/// How a map is to go.
struct map_settings {
  map_options map{};
  options_ptr task{};
  bool ordered = true;
  /// The first failure cancels what has not begun.
  bool all_or_nothing = true;
  /// Results are wanted one by one as they come, so chunks stay short.
  bool streamed = false;
  /// The time by which results must be there; then timeout_error.
  deadline until{};
  /// All items run, even if no result is ever read.
  bool run_unread = false;
};

/// A map that pulls its input through a window, and the rest of it before its executor ends.
class open_map {
 public:
  open_map() = default;
  open_map(const open_map&) = delete;
  open_map& operator=(const open_map&) = delete;
  virtual ~open_map();

  /// Pulls what is left of the input and submits it, on the calling thread. Does not throw: an
  /// exception comes out where the results are read, behind those of what was submitted. Without
  /// patience it does nothing while another thread is pulling.
  virtual void pull_rest(const deadline& until, bool patient) noexcept = 0;
};

/// The open maps of one executor that have not been destroyed.
///
/// @threads any.
class open_maps {
 public:
  /// Pulled at once if the executor has ended.
  void add(const std::shared_ptr<open_map>& map);
  /// Pulls the rest of all, and of those that come later.
  void pull_all(const deadline& until, bool patient) noexcept;
  /// What was not pulled is dropped.
  void drop_all() noexcept;

 private:
  guarded_mutex mutex_;
  std::vector<std::weak_ptr<open_map>> maps_ TROUPE_GUARDED_BY(mutex_);
  std::size_t forget_at_ TROUPE_GUARDED_BY(mutex_) = 16;  // then those that are gone go
  bool ended_ TROUPE_GUARDED_BY(mutex_) = false;
};

}  // namespace troupe::detail
