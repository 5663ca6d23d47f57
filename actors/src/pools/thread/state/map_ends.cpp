// SPDX-License-Identifier: BSD-3-Clause
#include "pools/thread/state/map_ends.hpp"

#include "pools/thread/state/thread_coroutines.hpp"

#include <algorithm>

namespace troupe::detail {
namespace {

template <class All, class Which>
std::size_t count_if(const All& all, const Which& which) {
  return static_cast<std::size_t>(std::count_if(all.begin(), all.end(), which));
}

}  // namespace

void map_ends::begin_asking(const thread_submission& of) {
  asking_.emplace_back(&of, std::this_thread::get_id());
}

void map_ends::end_asking(const thread_submission& of, const worker_table& workers) {
  asking_.erase(std::find_if(asking_.begin(), asking_.end(),
                             [&of](const auto& each) { return each.first == &of; }));
  look(of, workers);
}

std::size_t map_ends::running_of(const thread_group& map, const worker_table& workers) const {
  std::size_t found = 0;
  for (const auto& each : workers.all()) {
    found += count_if(each->running, [&map](const thread_submission* submission) {
      return submission->group.get() == &map;
    });
  }
  return found +
         count_if(asking_, [&map](const auto& each) { return each.first->group.get() == &map; });
}

std::size_t map_ends::below_caller(const thread_group& map, const worker_seat* own) const {
  std::size_t found = 0;
  if (own != nullptr) {
    // All that a worker runs is on its stack, except coroutines.
    found += count_if(own->running, [&map](const thread_submission* submission) {
      return submission->group.get() == &map && !submission->is_coroutine();
    });
    found += coroutines_below_caller(map);
  }
  return found + count_if(asking_, [&map](const auto& each) {
           return each.first->group.get() == &map && each.second == std::this_thread::get_id();
         });
}

void map_ends::look(const thread_submission& ended, const worker_table& workers) {
  if (watched_.empty() || !ended.group) {
    return;
  }
  std::erase_if(watched_, [&](const watched& each) {
    if (each.map != ended.group.get() || running_of(*each.map, workers) > each.below) {
      return false;
    }
    each.end->happened();  // wakes one thread, and does not take the scheduler's lock
    return true;
  });
}

std::shared_ptr<event_state> map_ends::watch(const thread_group& map, const worker_seat* own,
                                             const worker_table& workers) {
  const std::size_t below = below_caller(map, own);
  if (running_of(map, workers) <= below) {
    return nullptr;
  }
  const bool of_coroutines = workers.any_of([&map](const worker_seat& each) {
    return std::any_of(each.running.begin(), each.running.end(), [&map](const auto* submission) {
      return submission->group.get() == &map && submission->is_coroutine();
    });
  });
  const auto end = std::make_shared<event_state>(of_coroutines);
  watched_.push_back({&map, below, end});
  return end;
}

}  // namespace troupe::detail
