// SPDX-License-Identifier: BSD-3-Clause
#include "pools/thread/state/worker_table.hpp"

#include <algorithm>
#include <iterator>
#include <utility>

namespace troupe::detail {

worker_seat& worker_table::add(bool relief) {
  auto free = std::find(places_.begin(), places_.end(), false);
  if (free == places_.end()) {
    free = places_.insert(free, false);
  }
  seats_.push_back(
      std::make_unique<worker_seat>(static_cast<int>(free - places_.begin()), next_id_, relief));
  *free = true;
  ++next_id_;
  return *seats_.back();
}

std::unique_ptr<worker_seat> worker_table::remove(worker_seat& gone) {
  past_succeeded_ += gone.succeeded.load(std::memory_order_relaxed);
  places_[static_cast<std::size_t>(gone.place)] = false;
  const auto found = std::find_if(seats_.begin(), seats_.end(),
                                  [&gone](const auto& each) { return each.get() == &gone; });
  std::unique_ptr<worker_seat> seat = std::move(*found);
  seats_.erase(found);
  return seat;
}

worker_seat& worker_table::bound_to(const std::string& key) {
  if (worker_seat* const* const bound = keys_.find(key)) {
    return **bound;
  }
  const auto burden = [this](worker_seat& one) {
    return std::pair{one.own.size() + (one.free.load() ? 0 : 1), keys_.count(&one)};
  };
  worker_seat* best = nullptr;
  for (const auto& each : seats_) {
    if (!each->leaving && !each->relief && (best == nullptr || burden(*each) < burden(*best))) {
      best = each.get();
    }
  }
  keys_.bind(key, best);
  return *best;
}

std::size_t worker_table::reliefs() const noexcept {
  return static_cast<std::size_t>(std::count_if(seats_.begin(), seats_.end(), [](const auto& each) {
    return each->relief && !each->leaving;
  }));
}

void worker_table::unbind(worker_seat& one) {
  keys_.unbind(&one);
}

void resting_workers::add_idle(worker_seat& one) {
  idle_.push_back(&one);
  one.rests = worker_seat::rest::idle;
}

void resting_workers::add_lender(worker_seat& one) {
  // A coroutine that waits runs inside of its worker's sleep, which is noted already.
  if (std::exchange(one.rests, worker_seat::rest::lends) != worker_seat::rest::lends) {
    lenders_.push_back(&one);
  }
}

void resting_workers::woke_up(worker_seat& one) {
  if (std::exchange(one.looking, false)) {
    --looking_;
  }
  if (std::exchange(one.expected, false)) {
    waking_ = false;
  }
  switch (std::exchange(one.rests, worker_seat::rest::none)) {
    case worker_seat::rest::none:
      break;
    case worker_seat::rest::idle:
      std::erase(idle_, &one);
      break;
    case worker_seat::rest::lends:
      std::erase(lenders_, &one);
      break;
  }
}

void resting_workers::looks(worker_seat& one) {
  one.looking = true;
  ++looking_;
}

void resting_workers::call(worker_seat& one, wake_list& to_wake) {
  switch (std::exchange(one.rests, worker_seat::rest::none)) {
    case worker_seat::rest::none:
      return;
    case worker_seat::rest::idle: {
      const auto found = std::find(idle_.rbegin(), idle_.rend(), &one);
      idle_.erase(std::next(found).base());
      one.expected = true;
      waking_ = true;
      break;
    }
    case worker_seat::rest::lends: {
      const auto found = std::find(lenders_.rbegin(), lenders_.rend(), &one);
      lenders_.erase(std::next(found).base());
      break;
    }
  }
  to_wake.add(one.bell);
}

resting_workers::search resting_workers::call_next(std::uint64_t queued, wake_list& to_wake) {
  if (queued <= looking_) {
    return search::enough_awake;
  }
  if (!idle_.empty()) {
    if (waking_) {
      return search::enough_awake;  // that worker will see this task, too, and call the next
    }
    call(*idle_.back(), to_wake);
    return search::found;
  }
  const auto lender = std::find_if(lenders_.rbegin(), lenders_.rend(),
                                   [](const worker_seat* each) { return each->runs_any; });
  if (lender != lenders_.rend()) {
    call(**lender, to_wake);
    return search::found;
  }
  return search::none;
}

void resting_workers::call_lenders(wake_list& to_wake) {
  for (worker_seat* const each : std::exchange(lenders_, {})) {
    each->rests = worker_seat::rest::none;
    to_wake.add(each->bell);
  }
}

void resting_workers::call_idle(wake_list& to_wake) {
  call_idle_if([](const worker_seat&) { return true; }, to_wake);
}

}  // namespace troupe::detail
