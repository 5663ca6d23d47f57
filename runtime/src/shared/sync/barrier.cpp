// SPDX-License-Identifier: BSD-3-Clause
#include "troupe/barrier.hpp"

#include "shared/core/kind_rules.hpp"
#include "shared/core/transaction.hpp"
#include "shared/sync/barrier_operations.hpp"

#include <algorithm>
#include <array>
#include <exception>
#include <functional>
#include <stdexcept>
#include <string>
#include <utility>

namespace troupe {
namespace {

using detail::process_slot;
using detail::shared_word;
using detail::transaction;

//                 the last one comes
//    filling ───────────────┬──────────▶ draining ──▶ filling      as each of them leaves
//       │                   ▼ an action      ▲
//       │                 acting ────────────┘
//       │ timeout, abort,   │ it throws, abort,
//       │ reset             │ reset, its process dies
//       └──────────────▶ failing ──▶ filling                       as each of them throws
//
// A thread that comes while others leave waits for the last of them. `broken` is beside all that:
// a thread that comes then throws.
enum phase : std::uint64_t { filling, acting, draining, failing };

struct barrier_state {
  shared_word parties;
  shared_word phase;
  shared_word present;  ///< have come and not left; the sum of the slots' counters
  shared_word left;     ///< of those, in `draining`: the next one's number
  shared_word broken;
};

constexpr std::size_t changed = 0;  // the channel
constexpr std::size_t present = 0;  // the counters
constexpr std::size_t acts = 1;

void break_now(transaction& tx, barrier_state& state) {
  tx.set(state.broken, 1);
  const std::uint64_t now = tx.get(state.phase);
  if (now == filling || now == acting) {
    tx.set(state.phase, tx.get(state.present) == 0 ? filling : failing);
  }
  tx.wake(changed);
}

void leave(transaction& tx, barrier_state& state, process_slot& slot, std::uint64_t count) {
  tx.subtract(slot.counters[present], count);
  tx.set(state.present, tx.get(state.present) - std::min(count, tx.get(state.present)));
  if (tx.get(state.present) == 0 && tx.get(state.phase) != filling) {
    tx.set(state.phase, filling);
    tx.wake(changed);
  }
}

void withdraw(transaction& tx, process_slot& dead) {
  auto& state = tx.object().state<barrier_state>();
  if (tx.get(dead.counters[acts]) != 0) {
    tx.set(dead.counters[acts], 0);
    break_now(tx, state);
  }
  leave(tx, state, dead, tx.get(dead.counters[present]));
}

detail::region_spec spec_for(const object_options& options) {
  return {.rules = &detail::barrier_rules,
          .name = options.name,
          .payload_bytes = sizeof(barrier_state),
          .init = [](detail::region& made) { made.state<barrier_state>().parties = 1; }};
}

[[noreturn]] void throw_broken(const char* why) {
  throw broken_barrier{std::string{"troupe: the barrier is broken: "} + why};
}

class local_barrier final : public detail::barrier_operations {
 public:
  std::size_t arrive(detail::region& object, const detail::deadline& until,
                     const std::function<void()>& action) const override;
  void abort(detail::region& object) const override {
    transaction tx{object};
    break_now(tx, tx.object().state<barrier_state>());
    tx.commit();
  }
  void reset(detail::region& object) const override {
    transaction tx{object};
    auto& state = tx.object().state<barrier_state>();
    break_now(tx, state);
    tx.set(state.broken, 0);
    tx.commit();
  }
  std::size_t parties(detail::region& object) const override {
    return static_cast<std::size_t>(object.state<barrier_state>().parties.load());
  }
  std::size_t waiting(detail::region& object) const override {
    transaction tx{object};
    auto& state = tx.object().state<barrier_state>();
    const std::uint64_t now = tx.get(state.phase);
    return now == filling || now == acting ? static_cast<std::size_t>(tx.get(state.present)) : 0;
  }
  bool broken(detail::region& object) const override {
    const transaction tx{object};
    return tx.get(tx.object().state<barrier_state>().broken) != 0;
  }
};

std::size_t local_barrier::arrive(detail::region& object, const detail::deadline& until,
                                  const std::function<void()>& action) const {
  transaction tx{object};
  auto& state = tx.object().state<barrier_state>();
  // Those of the last round, which have no more to wait for, leave first.
  while (tx.get(state.phase) != filling && tx.get(state.broken) == 0) {
    if (!tx.wait(changed, until)) {
      break_now(tx, state);
      tx.commit();
      throw_broken("the time was over before all parties had come");
    }
  }
  if (tx.get(state.broken) != 0) {
    throw_broken("by a timeout, an abort, or a death in its action; reset() makes it new");
  }
  const auto leave_failing = [&](const char* why) {
    leave(tx, state, tx.own(), 1);
    tx.commit();
    throw_broken(why);
  };
  tx.add(state.present, 1);
  tx.add(tx.own().counters[present], 1);
  const bool last = tx.get(state.present) >= tx.get(state.parties);
  if (last) {
    tx.set(state.left, 0);
    tx.set(state.phase, action ? acting : draining);
    tx.wake(changed);
    if (action) {
      tx.set(tx.own().counters[acts], 1);
    }
  }
  tx.commit();
  if (last && action) {
    try {
      tx.without_lock(action);
    } catch (...) {
      // Whatever it was goes on to the caller; the others must not wait for this thread.
      tx.set(tx.own().counters[acts], 0);
      if (tx.get(state.phase) == acting) {
        break_now(tx, state);
      }
      leave(tx, state, tx.own(), 1);
      tx.commit();
      throw;
    }
    tx.set(tx.own().counters[acts], 0);
    if (tx.get(state.phase) == acting) {
      tx.set(state.phase, draining);
      tx.wake(changed);
    }
    tx.commit();
  }
  while (tx.get(state.phase) == filling || tx.get(state.phase) == acting) {
    if (!tx.wait(changed, tx.get(state.phase) == filling ? until : std::nullopt)) {
      break_now(tx, state);
      leave_failing("the time was over before all parties had come");
    }
  }
  if (tx.get(state.phase) == failing) {
    leave_failing("another party's time was over, or it was aborted or reset");
  }
  const std::uint64_t number = tx.get(state.left);
  tx.set(state.left, number + 1);
  leave(tx, state, tx.own(), 1);
  tx.commit();
  return static_cast<std::size_t>(number);
}

const detail::object_operations& local_operations() noexcept {
  static constexpr local_barrier one;
  return one;
}

}  // namespace

constexpr detail::object_rules detail::barrier_rules{.kind = object_kind::barrier,
                                                     .min_payload_bytes = sizeof(barrier_state),
                                                     .recover = &withdraw,
                                                     .local = &local_operations};

barrier::barrier() : object_handle{detail::region::create_default(spec_for({}))} {}

barrier::barrier(std::ptrdiff_t parties, bound_call action, const object_options& options)
    : action_{std::move(action)} {
  if (parties <= 0) {
    throw std::invalid_argument{"troupe: a barrier for " + std::to_string(parties) +
                                " parties: there must be one at least"};
  }
  object_ = detail::region::create(spec_for(options));
  object_->state<barrier_state>().parties = static_cast<std::uint64_t>(parties);
}

void barrier::load(input_archive& ar) {
  load_handle(ar, detail::barrier_rules);
  ar(action_);
}

std::size_t barrier::arrive(const detail::deadline& until) const {
  std::function<void()> action;
  if (action_) {
    action = std::cref(action_);
  }
  return operations<detail::barrier_operations>().arrive(object(), until, action);
}

void barrier::abort() const {
  operations<detail::barrier_operations>().abort(object());
}

void barrier::reset() const {
  operations<detail::barrier_operations>().reset(object());
}

std::size_t barrier::parties() const {
  return operations<detail::barrier_operations>().parties(object());
}

std::size_t barrier::waiting() const {
  return operations<detail::barrier_operations>().waiting(object());
}

bool barrier::broken() const {
  return operations<detail::barrier_operations>().broken(object());
}

}  // namespace troupe
