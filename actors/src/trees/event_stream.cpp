// SPDX-License-Identifier: BSD-3-Clause
#include "trees/event_stream.hpp"

#include "troupe/supervisor_events.hpp"

#include <array>
#include <chrono>
#include <string_view>
#include <utility>

namespace troupe {
namespace detail {

void event_stream::put(const supervisor_event& event) {
  const mutex_guard lock{mutex_};
  if (events_.size() >= capacity_) {
    events_.pop_front();
    ++lost_;
  }
  events_.push_back(event);
  changed_.notify_one();
}

void event_stream::end() {
  const mutex_guard lock{mutex_};
  ended_ = true;
  changed_.notify_all();
}

std::optional<supervisor_event> event_stream::take(const deadline& until) {
  mutex_lock lock{mutex_};
  bool in_time = true;
  while (events_.empty() && !ended_ && in_time) {
    if (until) {
      in_time = changed_.wait_until(lock, *until);
    } else {
      changed_.wait(lock);
    }
  }
  if (events_.empty()) {
    return std::nullopt;
  }
  supervisor_event first = std::move(events_.front());
  events_.pop_front();
  first.lost_before = std::exchange(lost_, 0);
  return first;
}

bool event_stream::ended() const {
  const mutex_guard lock{mutex_};
  return ended_ && events_.empty();
}

}  // namespace detail

std::string_view to_string(supervisor_event_kind kind) noexcept {
  constexpr std::array<std::string_view, 8> names{"started", "restarted", "ready",   "ended",
                                                  "killed",  "escalated", "gave_up", "stopped"};
  const auto at = static_cast<std::size_t>(kind);
  return at < names.size() ? names[at] : "unknown";
}

std::optional<supervisor_event> supervisor_events::try_next() {
  return stream_->take(std::chrono::steady_clock::now());
}
std::optional<supervisor_event> supervisor_events::next_until(const detail::deadline& until) {
  return stream_->take(until);
}
bool supervisor_events::ended() const {
  return stream_->ended();
}

}  // namespace troupe
