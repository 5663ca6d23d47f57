// SPDX-License-Identifier: BSD-3-Clause
#include "shared/core/name_cleaner.hpp"

#include "os/library_thread.hpp"
#include "shared/core/block_names.hpp"

#include <sys/stat.h>

#include <algorithm>
#include <chrono>
#include <exception>
#include <optional>
#include <utility>

namespace troupe::detail {
namespace {

using std::chrono::steady_clock;

/// After a look the thread rests this many times as long as the look took: deaths in quick
/// succession beside many files take a tenth of a processor at most.
constexpr int rest_factor = 9;
constexpr std::chrono::milliseconds shortest_rest{1};

/// When the folder was changed last; none: it is not there.
std::optional<name_watch::time> folder_changed() noexcept {
  struct stat info{};
  if (::stat(block_folder, &info) != 0) {
    return std::nullopt;
  }
  const auto since_epoch =
      std::chrono::seconds{info.st_mtim.tv_sec} + std::chrono::nanoseconds{info.st_mtim.tv_nsec};
  return name_watch::time{std::chrono::duration_cast<name_watch::time::duration>(since_epoch)};
}

}  // namespace

name_cleaner::name_cleaner(look through) : state_{std::make_shared<state>(std::move(through))} {
  const mutex_guard lock{state_->mutex};
  if (const auto changed = folder_changed()) {
    state_->watch.was_without_names(*changed, std::chrono::system_clock::now());
  }
}

name_cleaner::~name_cleaner() {
  mutex_lock lock{state_->mutex};
  state_->is_over = true;
  state_->changed.notify_all();
  while (state_->is_running) {
    state_->changed.wait(lock);
  }
}

void name_cleaner::after_a_death() noexcept {
  const auto changed = folder_changed();
  const mutex_guard lock{state_->mutex};
  if (!changed || !state_->watch.must_look(*changed)) {
    return;
  }
  state_->is_asked = true;
  if (state_->is_running || state_->is_over) {
    return;
  }
  try {
    start_thread("troupe-names", [shared = state_] { run(*shared); });
    state_->is_running = true;
  } catch (const std::exception&) {  // NOLINT(bugprone-empty-catch)
    // No thread, or no memory: see the header.
  }
}

void name_cleaner::run(state& shared) {
  mutex_lock lock{shared.mutex};
  while (shared.is_asked && !shared.is_over) {
    shared.is_asked = false;
    lock.unlock();
    const auto begin = steady_clock::now();
    const auto changed = folder_changed();
    const auto now = std::chrono::system_clock::now();
    const std::size_t names = shared.through();
    const auto end = steady_clock::now();
    lock.lock();
    if (names == 0 && changed) {
      shared.watch.was_without_names(*changed, now);
    } else {
      shared.watch.had_names();
    }
    const auto rested =
        end + std::max<steady_clock::duration>((end - begin) * rest_factor, shortest_rest);
    while (!shared.is_over && shared.changed.wait_until(lock, rested)) {
    }
  }
  shared.is_running = false;
  shared.changed.notify_all();
}

}  // namespace troupe::detail
