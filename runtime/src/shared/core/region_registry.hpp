// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/detail/memory.hpp"
#include "troupe/detail/region.hpp"

#include "base/thread_safety.hpp"

#include <cstdint>
#include <memory>
#include <unordered_map>
#include <vector>

namespace troupe::detail {

/// The objects of this process, by id.
struct region_registry {
  struct entry {
    std::weak_ptr<region> object;
    unsigned count = 0;  ///< regions of the object: two while one without handles is replaced
  };
  guarded_mutex mutex;
  std::unordered_map<std::uint64_t, entry> objects TROUPE_GUARDED_BY(mutex);
  std::vector<mapping> kept TROUPE_GUARDED_BY(mutex);  // locked at their end

  /// Never destroyed: handles may be global variables.
  static region_registry& instance();

  void add(const std::shared_ptr<region>& object) TROUPE_REQUIRES(mutex) {
    entry& at = objects[object->id()];
    at.object = object;
    ++at.count;
    object->registered_ = true;
  }

  static void drop(region* object) noexcept;
  static std::vector<std::shared_ptr<region>> all();
  static std::shared_ptr<region> own(std::unique_ptr<region> made) {
    return {made.release(), &region_registry::drop};
  }
};

}  // namespace troupe::detail
