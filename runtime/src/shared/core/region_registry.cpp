// SPDX-License-Identifier: BSD-3-Clause

// Which shared objects this process has, and what is done to all of them.

#include "shared/core/region_registry.hpp"

#include "os/process_identity.hpp"

#include <pthread.h>

#include <exception>
#include <utility>

namespace troupe::detail {

region_registry& region_registry::instance() {
  static region_registry* const one = [] {
    watch_forks();
    auto* made = new region_registry;
    // A child must not inherit the lock from a thread that does not exist there. It is held from
    // one of these functions to another, which the analysis cannot follow.
    ::pthread_atfork([]() TROUPE_NO_THREAD_SAFETY_ANALYSIS { instance().mutex.lock(); },
                     []() TROUPE_NO_THREAD_SAFETY_ANALYSIS { instance().mutex.unlock(); },
                     []() TROUPE_NO_THREAD_SAFETY_ANALYSIS { instance().mutex.unlock(); });
    return made;
  }();
  return *one;
}

void region_registry::drop(region* object) noexcept {
  if (object->registered_) {
    region_registry& all = instance();
    const mutex_guard lock{all.mutex};
    const auto at = all.objects.find(object->id());
    if (at != all.objects.end() && --at->second.count == 0) {
      object->free_slot();
      all.objects.erase(at);
    }
  }
  if (object->begin() != nullptr && is_thread_of_this_process(object->lock().owner.load())) {
    // A thread of this process still has the lock, and the C library's list of its robust locks
    // leads through this memory: it stays mapped, and the lock is found dead when the process ends.
    region_registry& all = instance();
    const mutex_guard lock{all.mutex};
    all.kept.push_back(std::move(object->view_));
  }
  delete object;
}

std::vector<std::shared_ptr<region>> region_registry::all() {
  region_registry& registry = instance();
  std::vector<std::shared_ptr<region>> found;
  const mutex_guard lock{registry.mutex};
  found.reserve(registry.objects.size());
  for (const auto& [id, entry] : registry.objects) {
    if (auto object = entry.object.lock()) {
      found.push_back(std::move(object));
    }
  }
  return found;
}

std::vector<object_info> live_objects() {
  std::vector<object_info> found;
  for (const auto& object : region_registry::all()) {
    found.push_back(object->info());
  }
  return found;
}

void recover_objects_of_dead(std::uint32_t reported) noexcept {
  try {
    ended_processes known{reported};
    for (const auto& object : region_registry::all()) {
      object->recover_dead(known);
    }
  } catch (const std::exception&) {  // NOLINT(bugprone-empty-catch)
    // Out of memory, or a damaged object: waiting threads look for the dead by themselves.
  }
}

}  // namespace troupe::detail
