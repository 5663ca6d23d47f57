// SPDX-License-Identifier: BSD-3-Clause
#include "pools/root_child.hpp"

#include "base/fork_safety.hpp"
#include "base/thread_safety.hpp"

#include <unistd.h>

#include <algorithm>
#include <map>
#include <set>

namespace troupe::detail {
namespace {

struct entry {
  std::weak_ptr<root_child> child;
  std::string name;
  std::int64_t process = 0;  // a forked child has its parent's list
};

/// Those that are listed in this process, and what the last look has found.
struct root_list {
  fork_safe_mutex mutex;
  std::map<std::uint64_t, entry> all TROUPE_GUARDED_BY(mutex);
  std::set<std::string, std::less<>> names TROUPE_GUARDED_BY(mutex);
  std::uint64_t last_number TROUPE_GUARDED_BY(mutex) = 0;
  std::vector<std::pair<std::uint64_t, child_phase>> last_seen TROUPE_GUARDED_BY(mutex);
  std::uint64_t version TROUPE_GUARDED_BY(mutex) = 0;

  void remove(std::uint64_t number) TROUPE_REQUIRES(mutex) {
    if (const auto found = all.find(number); found != all.end()) {
      names.erase(found->second.name);
      all.erase(found);
    }
  }
};

root_list& list() {
  static root_list& made = *new root_list;  // never destroyed
  return made;
}

}  // namespace

root_child::~root_child() {
  if (listed_ != 0) {
    const fork_safe_guard lock{list().mutex};
    list().remove(listed_);
  }
}

void list_at_root(const std::shared_ptr<root_child>& child, std::string name) {
  root_list& here = list();
  const fork_safe_guard lock{here.mutex};
  here.remove(child->listed_);
  const std::uint64_t number = ++here.last_number;
  if (here.names.contains(name)) {
    name += '#' + std::to_string(number);
  }
  here.names.insert(name);
  here.all.emplace(number, entry{child, std::move(name), ::getpid()});
  child->listed_ = number;
}

root_picture look_at_root() {
  root_list& here = list();
  root_picture made;
  std::vector<std::uint64_t> numbers;
  {
    const std::int64_t process = ::getpid();
    const fork_safe_guard lock{here.mutex};
    for (const auto& [number, one] : here.all) {
      if (one.process != process) {
        continue;
      }
      if (auto child = one.child.lock()) {
        made.children.push_back({std::move(child), {}});
        made.children.back().status.name = one.name;
        numbers.push_back(number);
      }
    }
  }
  std::vector<std::pair<std::uint64_t, child_phase>> seen;
  for (std::size_t i = 0; i < numbers.size(); ++i) {
    child_status& status = made.children[i].status;
    std::string name = std::move(status.name);
    status = made.children[i].child->seen();
    status.name = std::move(name);
    status.ready = status.phase == child_phase::running;
    status.incarnation = 1;
    if (status.phase != child_phase::stopped) {
      seen.emplace_back(numbers[i], status.phase);
    }
  }
  std::erase_if(made.children,
                [](const listed_child& one) { return one.status.phase == child_phase::stopped; });
  const fork_safe_guard lock{here.mutex};
  if (seen != here.last_seen) {
    here.last_seen = std::move(seen);
    ++here.version;
  }
  made.version = here.version;
  return made;
}

}  // namespace troupe::detail
