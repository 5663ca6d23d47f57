// SPDX-License-Identifier: BSD-3-Clause
#include "troupe/event.hpp"

#include "troupe/detail/futex.hpp"
#include "troupe/error.hpp"

#include "os/adaptive_spin.hpp"
#include "shared/core/crash_step.hpp"
#include "shared/core/kind_rules.hpp"
#include "shared/core/proxy.hpp"
#include "shared/sync/event_operations.hpp"

#include <algorithm>

namespace troupe {
namespace {

using namespace std::chrono_literals;

// The whole state is one word, so it needs no lock and is never half changed:
//   bit 0     the flag
//   bit 1     threads may be asleep
//   the rest  how often it was set: a waiter that sees it change knows there was a set()
struct event_state {
  std::atomic<std::uint32_t> word;
};

constexpr std::uint32_t set_bit = 1;
constexpr std::uint32_t waiters_bit = 2;
constexpr std::uint32_t one_set = 4;

detail::region_spec spec_for(const object_options& options) {
  return {
      .rules = &detail::event_rules, .name = options.name, .payload_bytes = sizeof(event_state)};
}

/// A waiter looks this often by itself: the process that sets the flag may die before it has woken
/// a thread.
constexpr auto slice = 50ms;

bool was_set(std::uint32_t now, std::uint32_t before) noexcept {
  return (now & set_bit) != 0 || now / one_set != before / one_set;
}

class local_event final : public detail::event_operations {
 public:
  void set(detail::region& object) const override {
    std::atomic<std::uint32_t>& word = object.state<event_state>().word;
    std::uint32_t before = word.load();
    do {
      if ((before & set_bit) != 0) {
        return;
      }
      detail::crash_step();
    } while (!word.compare_exchange_weak(before, ((before & ~waiters_bit) + one_set) | set_bit));
    detail::crash_step();
    if ((before & waiters_bit) != 0) {
      detail::futex_wake_all(word, true);
    }
    detail::crash_step();
  }
  void clear(detail::region& object) const override {
    detail::crash_step();
    object.state<event_state>().word.fetch_and(~set_bit);
    detail::crash_step();
  }
  bool is_set(detail::region& object) const override {
    return (object.state<event_state>().word.load() & set_bit) != 0;
  }
  bool wait(detail::region& object, const detail::deadline& until) const override {
    std::atomic<std::uint32_t>& word = object.state<event_state>().word;
    const std::uint32_t first = word.load();
    if ((first & set_bit) != 0) {
      return true;
    }
    if (detail::is_over(until)) {
      return false;
    }
    constinit thread_local detail::adaptive_spin spin;
    if (spin([&] { return was_set(word.load(std::memory_order_acquire), first); })) {
      return true;
    }
    detail::shared_word& asleep = object.own_slot().waiting[0];
    asleep.fetch_add(1);
    bool found = false;
    std::uint32_t now = word.load();
    while (!(found = was_set(now, first)) && !detail::is_over(until)) {
      if ((now & waiters_bit) == 0 && !word.compare_exchange_weak(now, now | waiters_bit)) {
        continue;
      }
      auto end = std::chrono::steady_clock::now() + slice;
      if (until) {
        end = std::min(end, *until);
      }
      detail::crash_step();
      detail::futex_wait(word, now | waiters_bit, end, true);
      detail::leave_if_dismissed();
      now = word.load();
    }
    asleep.fetch_sub(1);
    return found;
  }
};

const detail::object_operations& local_operations() noexcept {
  static constexpr local_event one;
  return one;
}

}  // namespace

constexpr detail::object_rules detail::event_rules{.kind = object_kind::event,
                                                   .min_payload_bytes = sizeof(event_state),
                                                   .local = &local_operations};

event::event() : object_handle{detail::region::create_default(spec_for({}))} {}
event::event(const object_options& options)
    : object_handle{detail::region::create(spec_for(options))} {}

void event::load(input_archive& ar) {
  load_handle(ar, detail::event_rules);
}

void event::set() const {
  operations<detail::event_operations>().set(object());
}

void event::clear() const {
  operations<detail::event_operations>().clear(object());
}

bool event::is_set() const {
  return operations<detail::event_operations>().is_set(object());
}

void event::wait() const {
  static_cast<void>(wait_within(std::nullopt));
}

bool event::wait_within(const detail::deadline& until) const {
  return operations<detail::event_operations>().wait(object(), until);
}

}  // namespace troupe
