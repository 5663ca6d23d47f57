// SPDX-License-Identifier: BSD-3-Clause

// How a worker of a thread pool waits in a task: by running other tasks meanwhile.

#include "thread_core_impl.hpp"
#include "thread_coroutines.hpp"

#include <algorithm>
#include <chrono>
#include <iterator>
#include <utility>

namespace troupe::detail {

thread_core::worker::worker(thread_core& owner, int place, std::uint64_t number)
    : core{owner}, index{place}, id{number} {}
thread_core::worker::~worker() = default;

void thread_core::worker::stopped_running(const thread_job& job) {
  const auto found = std::find(running.rbegin(), running.rend(), &job);
  running.erase(std::next(found).base());  // others may have begun since, and go on
}

void thread_core::worker::note_busy() {
  busy.store(
      static_cast<std::uint32_t>(depth) + static_cast<std::uint32_t>(loop ? loop->active() : 0),
      std::memory_order_relaxed);
}

void nudge::wake() noexcept {
  word.fetch_add(1);
  futex_wake_all(word);
  const std::lock_guard lock{mutex};
  if (poke) {
    poke();
  }
}

void thread_core::worker::sleep(std::uint32_t seen, const deadline& until) {
  if (loop && loop->has_work()) {
    ++depth;  // a coroutine that blocks lends a hand, too, and not without end
    if (bell->word.load() == seen) {
      loop->wait(until);
    }
    --depth;
  } else {
    futex_wait(bell->word, seen, until);
  }
}

void thread_core::worker::wait_for(const future_state& awaited) {
  const auto* const one = dynamic_cast<const thread_job*>(&awaited);
  std::shared_ptr<thread_job> wanted;
  if (one != nullptr && one->owner() == &core) {
    wanted = std::const_pointer_cast<thread_job>(
        std::static_pointer_cast<const thread_job>(awaited.shared_from_this()));
  }
  const bool of_this_pool = wanted || owner_of(awaited) == &core;
  bool observed = false;
  while (!awaited.done()) {
    if (loop) {
      ++depth;
      loop->run_ready();
      --depth;
      if (awaited.done()) {
        break;
      }
    }
    const bool may_lend = depth < max_lending_depth;
    if (may_lend) {
      if (core.lend_a_hand(*this, wanted, &awaited)) {
        continue;
      }
    } else if (of_this_pool && !awaited.running() && !awaited.done()) {
      throw error{errc::would_deadlock, task_ran::no,
                  "tasks of " + core.title() + " wait for each other " + std::to_string(depth) +
                      " deep in one thread, which is the limit: let the outer ones submit and "
                      "return, or wait outside of the pool"};
    }
    if (!std::exchange(observed, true)) {
      awaited.observe([bell = bell](future_state&) { bell->wake(); });
    }
    const std::uint32_t seen = bell->word.load();
    if (awaited.done()) {
      break;
    }
    if (may_lend) {
      const std::lock_guard lock{core.mutex_};
      if (core.anything_queued() || anything_for_me()) {
        continue;
      }
      core.lenders_.push_back(this);
    }
    // At the limit nobody rings when what is awaited goes back to waiting in the queue.
    constexpr auto look_again = std::chrono::milliseconds{10};
    sleep(seen, may_lend ? deadline{} : deadline_after(look_again));
    if (may_lend) {
      const std::lock_guard lock{core.mutex_};
      std::erase(core.lenders_, this);
    }
  }
  // The bell may have rung for a task that this thread has no time for now.
  core.pass_on();
}

}  // namespace troupe::detail
