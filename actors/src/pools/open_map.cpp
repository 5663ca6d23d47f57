// SPDX-License-Identifier: BSD-3-Clause
#include "troupe/detail/open_map.hpp"

#include <algorithm>
#include <utility>

namespace troupe::detail {

open_map::~open_map() = default;

void open_maps::add(const std::shared_ptr<open_map>& map) {
  {
    const mutex_guard lock{mutex_};
    if (!ended_) {
      if (maps_.size() >= forget_at_) {
        std::erase_if(maps_, [](const auto& each) { return each.expired(); });
        forget_at_ = std::max<std::size_t>(16, 2 * maps_.size());
      }
      maps_.push_back(map);
      return;
    }
  }
  map->pull_rest(std::nullopt, true);
}

void open_maps::pull_all(const deadline& until, bool patient) noexcept {
  for (;;) {
    std::vector<std::weak_ptr<open_map>> now;
    {
      const mutex_guard lock{mutex_};
      now.swap(maps_);
      if (now.empty()) {
        ended_ = true;
        return;
      }
    }
    // Without the lock: pulling runs code of the user, which may call map.
    for (const auto& each : now) {
      if (const auto map = each.lock()) {
        map->pull_rest(until, patient);
      }
    }
  }
}

void open_maps::drop_all() noexcept {
  const mutex_guard lock{mutex_};
  maps_.clear();
  ended_ = true;
}

}  // namespace troupe::detail
