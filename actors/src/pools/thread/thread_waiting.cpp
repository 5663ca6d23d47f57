// SPDX-License-Identifier: BSD-3-Clause

// How a worker of a thread pool waits in a task: by running other tasks meanwhile.

#include "pools/thread/thread_core_impl.hpp"
#include "pools/thread/thread_coroutines.hpp"

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <functional>
#include <iterator>
#include <memory>
#include <span>
#include <thread>
#include <utility>

namespace troupe::detail {

thread_core::worker::worker(thread_core& owner, int place, std::uint64_t number)
    : core{owner}, index{place}, id{number} {}
thread_core::worker::~worker() = default;

void thread_core::worker::stopped_running(const thread_submission& submission) {
  const auto found = std::find(running.rbegin(), running.rend(), &submission);
  running.erase(std::next(found).base());  // others may have begun since, and go on
  core.look_for_map_ends(submission);
}

// ---- the ends of maps ---------------------------------------------------------------------------

class thread_core::map_end final : public future_state {
 public:
  void each_value(const std::function<void(std::span<const std::byte>)>&) const override {}
  bool cancel(bool) override { return false; }
  [[nodiscard]] bool running() const override { return true; }
  void happened() { finish(nullptr); }

 protected:
  [[nodiscard]] executor callbacks() const override { return {}; }
};

std::size_t thread_core::running_of(const thread_group& map) const {
  std::size_t found = 0;
  for (const auto& each : workers_) {
    found += static_cast<std::size_t>(std::count_if(
        each->running.begin(), each->running.end(),
        [&map](const thread_submission* submission) { return submission->group.get() == &map; }));
  }
  return found + static_cast<std::size_t>(std::count_if(
                     asking_.begin(), asking_.end(),
                     [&map](const auto& each) { return each.first->group.get() == &map; }));
}

std::size_t thread_core::below_caller(const thread_group& map) const {
  std::size_t found = 0;
  if (const worker* const self = worker_of_this_thread()) {
    // What it runs, but for coroutines, it runs on its stack.
    found += static_cast<std::size_t>(std::count_if(
        self->running.begin(), self->running.end(), [&map](const thread_submission* submission) {
          return submission->group.get() == &map && !submission->is_coroutine();
        }));
    found += coroutines_below_caller(map);
  }
  return found + static_cast<std::size_t>(
                     std::count_if(asking_.begin(), asking_.end(), [&map](const auto& each) {
                       return each.first->group.get() == &map &&
                              each.second == std::this_thread::get_id();
                     }));
}

void thread_core::look_for_map_ends(const thread_submission& ended) {
  if (map_watches_.empty() || !ended.group) {
    return;
  }
  std::erase_if(map_watches_, [&](const map_watch& each) {
    if (each.map != ended.group.get() || running_of(*each.map) > each.below) {
      return false;
    }
    each.end->happened();  // wakes one thread, and takes no lock of the core's
    return true;
  });
}

void thread_core::wait_until_nothing_runs(const thread_group& map) {
  const auto end = std::make_shared<map_end>();
  {
    const std::lock_guard lock{mutex_};
    const std::size_t below = below_caller(map);
    if (running_of(map) <= below) {
      return;
    }
    map_watches_.push_back({&map, below, end});
  }
  end->wait(std::nullopt);
}

void thread_core::worker::note_busy() {
  busy.store(
      static_cast<std::uint32_t>(depth) + static_cast<std::uint32_t>(loop ? loop->active() : 0),
      std::memory_order_relaxed);
}

void worker_bell::wake() noexcept {
  flag_.wake();
  // `set_poke` stores true before its thread looks at the flag for the last time before it sleeps
  // in its loop: a thread that finds false here has rung early enough for that look.
  if (has_poke_.load()) {
    const std::lock_guard lock{mutex_};
    if (poke_) {
      poke_();
    }
  }
}

void worker_bell::set_poke(std::function<void()> poke) {
  const std::lock_guard lock{mutex_};
  poke_ = std::move(poke);
  has_poke_ = poke_ != nullptr;
}

void thread_core::worker::sleep(std::uint32_t seen, const deadline& until) {
  if (loop && loop->has_work()) {
    ++depth;  // a coroutine that blocks exports a hand, too, and not without end
    if (bell->look() == seen) {
      loop->wait(until);
    }
    --depth;
  } else {
    bell->sleep(seen, until);
  }
}

void thread_core::worker::wait_for(const future_state& awaited) {
  const auto* const one = dynamic_cast<const thread_submission*>(&awaited);
  std::shared_ptr<thread_submission> wanted;
  if (one != nullptr && one->owner() == &core) {
    wanted = std::const_pointer_cast<thread_submission>(
        std::static_pointer_cast<const thread_submission>(awaited.shared_from_this()));
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
    const bool may_lend = depth < max_export_depth;
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
    const std::uint32_t seen = bell->look();
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
