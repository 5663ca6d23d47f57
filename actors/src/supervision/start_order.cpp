// SPDX-License-Identifier: BSD-3-Clause
#include "supervision/start_order.hpp"

#include <algorithm>
#include <functional>
#include <queue>
#include <string_view>
#include <unordered_map>
#include <utility>

namespace troupe::detail {
namespace {

using index_list = std::vector<std::size_t>;

/// For each child the children that it waits for.
std::vector<index_list> edges_of(const std::vector<child_spec>& specs) {
  std::unordered_map<std::string_view, std::size_t> by_name;
  for (std::size_t i = 0; i < specs.size(); ++i) {
    by_name.emplace(specs[i].name, i);
  }
  std::vector<index_list> before(specs.size());
  for (std::size_t i = 0; i < specs.size(); ++i) {
    for (const std::string& name : specs[i].after) {
      const auto found = by_name.find(name);
      if (found != by_name.end() && found->second != i) {
        before[i].push_back(found->second);
      }
    }
    std::sort(before[i].begin(), before[i].end());
    before[i].erase(std::unique(before[i].begin(), before[i].end()), before[i].end());
  }
  return before;
}

/// The shortest cycle through a child, along children without a place in the order; empty: none.
index_list cycle_through(std::size_t first, const std::vector<index_list>& before,
                         const std::vector<bool>& placed) {
  const std::size_t none = before.size();
  index_list came_from(before.size(), none);
  index_list line{first};
  for (std::size_t i = 0; i < line.size(); ++i) {
    for (const std::size_t next : before[line[i]]) {
      if (next == first) {
        index_list cycle;
        for (std::size_t at = line[i]; at != first; at = came_from[at]) {
          cycle.push_back(at);
        }
        cycle.push_back(first);
        std::reverse(cycle.begin(), cycle.end());
        return cycle;
      }
      if (!placed[next] && came_from[next] == none) {
        came_from[next] = line[i];
        line.push_back(next);
      }
    }
  }
  return {};
}

/// Cycles that have each child that is on one. All there are may be very many.
std::vector<index_list> cycles_of(const std::vector<index_list>& before,
                                  const std::vector<bool>& placed) {
  std::vector<index_list> cycles;
  std::vector<bool> covered = placed;
  for (std::size_t first = 0; first < before.size(); ++first) {
    if (covered[first]) {
      continue;
    }
    if (index_list cycle = cycle_through(first, before, placed); !cycle.empty()) {
      for (const std::size_t i : cycle) {
        covered[i] = true;
      }
      std::rotate(cycle.begin(), std::min_element(cycle.begin(), cycle.end()), cycle.end());
      cycles.push_back(std::move(cycle));
    }
  }
  return cycles;
}

}  // namespace

start_order order_of(const std::vector<child_spec>& specs) {
  const std::vector<index_list> before = edges_of(specs);
  std::vector<index_list> behind(specs.size());
  std::vector<std::size_t> waits_for(specs.size());
  std::priority_queue<std::size_t, index_list, std::greater<>> free;
  for (std::size_t i = 0; i < specs.size(); ++i) {
    waits_for[i] = before[i].size();
    for (const std::size_t other : before[i]) {
      behind[other].push_back(i);
    }
    if (waits_for[i] == 0) {
      free.push(i);
    }
  }
  start_order made;
  std::vector<bool> placed(specs.size(), false);
  while (!free.empty()) {
    const std::size_t next = free.top();
    free.pop();
    placed[next] = true;
    made.order.push_back(next);
    for (const std::size_t other : behind[next]) {
      if (--waits_for[other] == 0) {
        free.push(other);
      }
    }
  }
  if (made.order.size() < specs.size()) {
    made.cycles = cycles_of(before, placed);
  }
  return made;
}

}  // namespace troupe::detail
