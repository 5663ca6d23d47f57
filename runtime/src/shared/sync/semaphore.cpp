// SPDX-License-Identifier: BSD-3-Clause
#include "troupe/semaphore.hpp"

#include "shared/core/kind_rules.hpp"
#include "shared/core/transaction.hpp"
#include "shared/sync/semaphore_operations.hpp"

#include <algorithm>
#include <array>
#include <limits>
#include <stdexcept>
#include <string>

namespace troupe {
namespace detail {
namespace {

struct semaphore_state {
  shared_word value;  ///< free permits
  shared_word bound;  ///< the most there may be
};

constexpr std::size_t released = 0;  // the channel
constexpr std::size_t held = 0;      // the counter
constexpr auto most = static_cast<std::uint64_t>(std::numeric_limits<std::ptrdiff_t>::max());

void give_back(transaction& tx, process_slot& dead) {
  auto& state = tx.object().state<semaphore_state>();
  // Never beyond the bound, whatever the slot says.
  const std::uint64_t value = tx.get(state.value);
  const std::uint64_t bound = std::max(value, tx.get(state.bound));
  tx.set(state.value, value + std::min(tx.get(dead.counters[held]), bound - value));
  tx.set(dead.counters[held], 0);
}

const object_rules& rules_for(bool bounded) {
  return bounded ? bounded_rules : semaphore_rules;
}

region_spec spec_for(bool bounded, const object_options& options) {
  return {.rules = &rules_for(bounded),
          .name = options.name,
          .payload_bytes = sizeof(semaphore_state),
          .init = [](region& made) {
            auto& state = made.state<semaphore_state>();
            state.value = 1;
            state.bound = made.kind() == object_kind::bounded_semaphore ? 1 : most;
          }};
}

/// The process that holds most, null if none holds any.
process_slot* greediest(const transaction& tx) {
  const auto slots = tx.object().slots();
  const auto found = std::ranges::max_element(
      slots, {}, [&](const process_slot& slot) { return tx.get(slot.counters[held]); });
  return tx.get(found->counters[held]) != 0 ? &*found : nullptr;
}

class local_semaphore final : public semaphore_operations {
 public:
  bool acquire(region& object, const deadline& until) const override {
    transaction tx{object};
    auto& state = tx.object().state<semaphore_state>();
    while (tx.get(state.value) == 0) {
      if (!tx.wait(released, until)) {
        return false;
      }
    }
    tx.subtract(state.value, 1);
    tx.add(tx.own().counters[held], 1);
    tx.commit();
    return true;
  }
  void release(region& object, std::ptrdiff_t count) const override {
    const auto given = static_cast<std::uint64_t>(count);
    transaction tx{object};
    auto& state = tx.object().state<semaphore_state>();
    const std::uint64_t value = tx.get(state.value);
    if (const std::uint64_t bound = tx.get(state.bound); value > bound || given > bound - value) {
      if (tx.object().kind() == object_kind::bounded_semaphore) {
        throw std::logic_error{"troupe: release(" + std::to_string(count) +
                               ") of a bounded_semaphore with " + std::to_string(value) + " of " +
                               std::to_string(bound) +
                               " permits free: it was released more often than acquired"};
      }
      throw std::overflow_error{"troupe: a semaphore with more permits than can be counted"};
    }
    std::uint64_t left = given;
    const auto take_from = [&](process_slot& slot) {
      const std::uint64_t taken = std::min(left, tx.get(slot.counters[held]));
      if (taken != 0) {
        tx.subtract(slot.counters[held], taken);
        left -= taken;
      }
    };
    take_from(tx.own());
    // Each holder takes an entry of the undo log; the few that hold most are enough for any real
    // release, and what is left over is then treated as new.
    for (std::size_t holders = 0; left != 0 && holders < undo_entries - 4; ++holders) {
      process_slot* const slot = greediest(tx);
      if (slot == nullptr) {
        break;
      }
      take_from(*slot);
    }
    tx.set(state.value, value + given);
    tx.wake(released);
    tx.commit();
  }
  std::ptrdiff_t value(region& object) const override {
    // Not just the word: a process may have died between writing and committing it.
    const transaction tx{object};
    return static_cast<std::ptrdiff_t>(tx.get(tx.object().state<semaphore_state>().value));
  }
};

const object_operations& local_operations() noexcept {
  static constexpr local_semaphore one;
  return one;
}

}  // namespace

constexpr object_rules semaphore_rules{.kind = object_kind::semaphore,
                                       .min_payload_bytes = sizeof(semaphore_state),
                                       .recover = &give_back,
                                       .local = &local_operations};
constexpr object_rules bounded_rules{.kind = object_kind::bounded_semaphore,
                                     .min_payload_bytes = sizeof(semaphore_state),
                                     .recover = &give_back,
                                     .local = &local_operations};

std::shared_ptr<region> semaphore_handle::make(std::ptrdiff_t permits,
                                               const object_options& options, bool bounded) {
  if (permits < 0) {
    throw std::invalid_argument{"troupe: a semaphore cannot begin with " + std::to_string(permits) +
                                " permits"};
  }
  auto made = region::create(spec_for(bounded, options));
  auto& state = made->state<semaphore_state>();
  state.value = static_cast<std::uint64_t>(permits);
  if (bounded) {
    state.bound = static_cast<std::uint64_t>(permits);
  }
  return made;
}

std::shared_ptr<region> semaphore_handle::make_default(bool bounded) {
  return region::create_default(spec_for(bounded, {}));
}

void semaphore_handle::load_semaphore(input_archive& ar, bool bounded) {
  load_handle(ar, rules_for(bounded));
}

void semaphore_handle::acquire() const {
  static_cast<void>(acquire_within(std::nullopt));
}

bool semaphore_handle::try_acquire() const {
  return acquire_within(std::chrono::steady_clock::time_point{});
}

bool semaphore_handle::acquire_within(const deadline& until) const {
  return operations<semaphore_operations>().acquire(object(), until);
}

void semaphore_handle::release(std::ptrdiff_t count) const {
  if (count <= 0) {
    throw std::invalid_argument{"troupe: release(" + std::to_string(count) +
                                ") of a semaphore: the number must be positive"};
  }
  operations<semaphore_operations>().release(object(), count);
}

std::ptrdiff_t semaphore_handle::value() const {
  return operations<semaphore_operations>().value(object());
}

}  // namespace detail

semaphore::semaphore() : semaphore_handle{make_default(false)} {}
semaphore::semaphore(std::ptrdiff_t permits, const object_options& options)
    : semaphore_handle{make(permits, options, false)} {}

bounded_semaphore::bounded_semaphore() : semaphore_handle{make_default(true)} {}
bounded_semaphore::bounded_semaphore(std::ptrdiff_t permits, const object_options& options)
    : semaphore_handle{make(permits, options, true)} {}

}  // namespace troupe
