// SPDX-License-Identifier: BSD-3-Clause
#include "supervision/supervision.hpp"

#include "supervision/start_order.hpp"

#include <algorithm>
#include <utility>
#include <variant>

namespace troupe::detail {
namespace {

/// The cause of an end that the supervisor brought about.
end_cause cause_of(after_stop then) noexcept {
  switch (then) {
    case after_stop::start:
      return end_cause::restarted_by_user;
    case after_stop::wait:
      return end_cause::sibling;
    case after_stop::rest:
    case after_stop::forget:
      return end_cause::stopped_by_user;
    case after_stop::failed_start:
      return end_cause::start_limit;
    case after_stop::shut_down:
      break;
  }
  return end_cause::shutdown;
}

}  // namespace

supervision::supervision(const supervisor_rules& rules, const std::vector<child_spec>& specs)
    : rules_{rules}, mistakes_{check(rules, specs)}, budget_{rules.limits, rules.seed} {
  if (mistakes_.empty()) {
    for (const std::size_t i : order_of(specs).order) {
      children_.add(specs[i], false);
    }
  }
}

action_list supervision::on(const supervision_event& event, steady_time now) {
  now_ = now;
  std::visit([this](const auto& one) { handle(one); }, event);
  advance();
  return std::exchange(todo_, {});
}

std::optional<steady_time> supervision::next_time() const {
  const child_record* const first = children_.first_due();
  return first == nullptr ? std::nullopt : first->due;
}

child_count supervision::count() const {
  const std::size_t running = children_.count(child_phase::running);
  return {children_.size(),
          children_.count(child_phase::starting) + running + children_.count(child_phase::stopping),
          running, children_.dynamic_count()};
}

supervision_picture supervision::picture(steady_time now) const {
  supervision_picture made{children_.version(), budget_.counted(now), rules_.limits.intensity, {}};
  made.children.reserve(children_.size());
  for (const child_record* child : children_.from(0)) {
    made.children.push_back({child->id, child->spec.name, child->phase, child->run, child->last_end,
                             child->row.forgiven, child->dynamic});
  }
  return made;
}

// What the supervisor is asked for.

void supervision::handle(const start_requested&) {
  if (stage_ != stage::idle) {
    return;
  }
  if (!mistakes_.empty()) {
    stage_ = stage::ended;
    todo_.emplace_back(supervisor_ended{supervisor_end::invalid});
    return;
  }
  stage_ = stage::serving;
  sweep_ = sweep::up;
}

void supervision::handle(const stop_requested&) {
  begin_stop({supervisor_end::stopped});
}

void supervision::handle(const kill_requested&) {
  begin_stop({supervisor_end::stopped});
  for (child_record* child : children_.from(0)) {
    if (child->phase == child_phase::starting || child->phase == child_phase::running) {
      children_.set_phase(*child, child_phase::stopping);
      child->then = after_stop::shut_down;
      kill(*child);
    } else if (child->phase == child_phase::stopping && !child->killed) {
      kill(*child);
    }
  }
}

void supervision::handle(const add_requested& event) {
  if (stage_ != stage::serving) {
    answer(event.request, stage_ == stage::idle ? request_outcome::not_running
                                                : request_outcome::supervisor_stopping);
  } else if (has_mistakes(event.spec)) {
    answer(event.request, request_outcome::invalid_spec);
  } else if (children_.find(event.spec.name) != nullptr) {
    answer(event.request, request_outcome::duplicate_name);
  } else if (rules_.max_children &&
             children_.dynamic_count() >= static_cast<std::size_t>(*rules_.max_children)) {
    answer(event.request, request_outcome::too_many_children);
  } else {
    child_record& child = children_.add(event.spec, true);
    child.on_trial = true;
    child.requests.push_back(event.request);
    if (sweep_ == sweep::none) {
      start(child);
    }
  }
}

void supervision::handle(const remove_requested& event) {
  take_down(event.request, event.name, after_stop::forget);
}

void supervision::handle(const child_stop_requested& event) {
  take_down(event.request, event.name, after_stop::rest);
}

void supervision::take_down(request_id request, const std::string& name, after_stop then) {
  child_record* const child = find_for(request, name);
  if (child == nullptr) {
    return;
  }
  child->stop_requests.push_back(request);
  switch (child->phase) {
    case child_phase::waiting:
    case child_phase::pausing:
    case child_phase::stopped:
      if (then == after_stop::forget) {
        forget(*child);
      } else {
        child->by_user = true;
        retire(*child, end_cause::stopped_by_user, false);
      }
      break;
    case child_phase::starting:
    case child_phase::running:
      stop(*child, then);
      break;
    case child_phase::stopping:
      if (child->then != after_stop::forget) {
        child->then = then;
      }
      break;
  }
}

void supervision::handle(const restart_requested& event) {
  child_record* const child = find_for(event.request, event.name);
  if (child == nullptr) {
    return;
  }
  if (child->phase == child_phase::stopping && child->then == after_stop::forget) {
    answer(event.request, request_outcome::being_removed);
    return;
  }
  child->requests.push_back(event.request);
  switch (child->phase) {
    case child_phase::waiting:
    case child_phase::starting:
      break;  // a new incarnation comes, or is coming
    case child_phase::running:
      stop(*child, after_stop::start);
      break;
    case child_phase::stopping:
      if (child->then == after_stop::rest) {
        child->then = after_stop::start;
      }
      break;
    case child_phase::pausing:
      end_pause(*child);
      break;
    case child_phase::stopped:
      child->on_trial = true;
      if (sweep_ == sweep::none) {
        start(*child);
      } else {
        set_waiting(*child);
      }
      break;
  }
}

child_record* supervision::find_for(request_id request, const std::string& name) {
  if (stage_ != stage::serving) {
    answer(request, stage_ == stage::idle ? request_outcome::not_running
                                          : request_outcome::supervisor_stopping);
    return nullptr;
  }
  child_record* const child = children_.find(name);
  if (child == nullptr) {
    answer(request, request_outcome::unknown_name);
  }
  return child;
}

bool supervision::has_mistakes(const child_spec& spec) {
  return !check_child(rules_, spec).empty() ||
         std::any_of(spec.after.begin(), spec.after.end(),
                     [this](const std::string& name) { return children_.find(name) == nullptr; });
}

void supervision::answer(request_id request, request_outcome outcome) {
  todo_.emplace_back(answer_request{request, outcome});
}

void supervision::answer_all(std::vector<request_id>& requests, request_outcome outcome) {
  for (const request_id request : std::exchange(requests, {})) {
    answer(request, outcome);
  }
}

// What children tell.

void supervision::handle(const child_ready& event) {
  child_record* const child = children_.find(event.child);
  if (child == nullptr || child->run != event.run || child->phase != child_phase::starting) {
    return;
  }
  children_.set_due(*child, std::nullopt);
  children_.set_phase(*child, child_phase::running);
  child->ready_at = now_;
  child->on_trial = false;
  child->by_user = false;
  budget_.on_ready(child->row);
  answer_all(child->requests, request_outcome::done);
  resolve(*child);
}

void supervision::handle(const child_ignored& event) {
  child_record* const child = children_.find(event.child);
  if (child == nullptr || child->run != event.run) {
    return;
  }
  if (child->phase == child_phase::stopping) {
    finish_stop(*child);
  } else if (child->phase == child_phase::starting) {
    answer_all(child->requests, request_outcome::done);
    child->on_trial = false;
    child->by_user = false;
    retire(*child, end_cause::finished, false);
  }
}

void supervision::handle(const child_ended& event) {
  child_record* const child = children_.find(event.child);
  if (child == nullptr || child->run != event.run) {
    return;
  }
  const end_cause cause = cause_for(child->spec.restart, event.cause);
  switch (child->phase) {
    case child_phase::stopping:
      finish_stop(*child);
      break;
    case child_phase::starting:
      if (cause == end_cause::finished) {  // it did what it had to, and had no need to tell
        answer_all(child->requests, request_outcome::done);
        child->on_trial = false;
        child->by_user = false;
        child->ready_at = now_;
        on_end(*child, cause);
      } else {
        on_failed_start(*child, cause);
      }
      break;
    case child_phase::running:
      on_end(*child, cause);
      break;
    case child_phase::waiting:
    case child_phase::pausing:
    case child_phase::stopped:
      break;  // this run has ended before
  }
}

void supervision::handle(const clock_advanced&) {
  for (child_record* child = children_.first_due(); child != nullptr && *child->due <= now_;
       child = children_.first_due()) {
    if (child->phase == child_phase::pausing) {
      end_pause(*child);
      continue;
    }
    if (child->phase == child_phase::starting) {
      children_.set_phase(*child, child_phase::stopping);
      child->then = after_stop::failed_start;
    }
    kill(*child);
  }
}

// The ends of children.

void supervision::finish_stop(child_record& child) {
  after_stop then = child.then;
  if (stage_ == stage::stopping && then != after_stop::forget) {
    then = after_stop::shut_down;
  } else if (in_group(child) && (then == after_stop::start || then == after_stop::failed_start)) {
    then = after_stop::wait;
  }
  child.last_end = cause_of(then);
  children_.set_due(child, std::nullopt);
  answer_all(child.stop_requests, request_outcome::done);
  switch (then) {
    case after_stop::start:
      start(child);
      break;
    case after_stop::wait:
      if (child.spec.restart == restart::temporary) {
        forget(child);
      } else {
        set_waiting(child);
      }
      break;
    case after_stop::rest:
      child.by_user = true;
      retire(child, end_cause::stopped_by_user, false);
      break;
    case after_stop::forget:
      forget(child);
      break;
    case after_stop::failed_start:
      on_failed_start(child, end_cause::start_limit);
      break;
    case after_stop::shut_down:
      set_stopped(child);
      break;
  }
}

bool supervision::ended_in_sweep(child_record& child) {
  if (stage_ == stage::stopping) {
    set_stopped(child);
    return true;
  }
  if (in_group(child)) {
    if (child.spec.restart == restart::temporary) {
      forget(child);
    } else {
      set_waiting(child);
    }
    return true;
  }
  return false;
}

void supervision::on_failed_start(child_record& child, end_cause cause) {
  child.last_end = cause;
  if (ended_in_sweep(child)) {
    return;
  }
  const cause_rule& rule = rule_of(cause);
  if (child.on_trial || rule.then == follow_up::none) {
    answer_all(child.requests, request_outcome::start_failed);
    child.on_trial = false;
    retire(child, cause, false);
    return;
  }
  if (rule.then == follow_up::replace) {
    start(child);
    return;
  }
  const restart_verdict verdict = budget_.on_failed_start(child.row, rule.costs, now_);
  if (verdict.give_up()) {
    give_up(child, cause, verdict.why);
  } else if (verdict.delay.count() > 0) {
    pause(child, verdict.delay);
  } else {
    start(child);
  }
}

void supervision::on_end(child_record& child, end_cause cause) {
  child.last_end = cause;
  if (ended_in_sweep(child)) {
    return;
  }
  const cause_rule& rule = rule_of(cause);
  if (!starts_again(child.spec.restart, cause)) {
    child.by_user = rule.then == follow_up::none;
    retire(child, cause, rule.then == follow_up::by_type);
    return;
  }
  if (rule.then == follow_up::replace) {
    start(child);
    return;
  }
  const restart_verdict verdict =
      budget_.on_end(child.row, rule.costs, now_ - child.ready_at, now_);
  if (verdict.give_up()) {
    give_up(child, cause, verdict.why);
    return;
  }
  const bool alone = rules_.strategy == strategy::one_for_one;
  if (verdict.delay.count() > 0) {
    pause(child, verdict.delay);
  } else if (alone) {
    start(child);
  } else {
    set_waiting(child);
  }
  if (!alone) {
    begin_group(rules_.strategy == strategy::one_for_all ? 0 : child.rank);
  }
}

void supervision::give_up(child_record& child, end_cause cause, exhausted why) {
  answer_all(child.requests, request_outcome::start_failed);
  set_stopped(child);
  begin_stop({supervisor_end::gave_up, why, child.id, cause});
}

void supervision::retire(child_record& child, end_cause cause, bool by_itself) {
  const child_id id = child.id;
  const bool significant = child.spec.significant;
  // What was added while the supervisor runs would pile up, had it to be removed by the user.
  if (child.spec.restart == restart::temporary || (child.dynamic && !child.by_user)) {
    forget(child);
  } else {
    set_stopped(child);
    answer_all(child.requests, request_outcome::stopped);
    answer_all(child.stop_requests, request_outcome::done);
  }
  const auto_shutdown how = rules_.auto_shutdown;
  if (by_itself && significant &&
      (how == auto_shutdown::any ||
       (how == auto_shutdown::all && children_.significant_left() == 0))) {
    begin_stop({supervisor_end::auto_shutdown, exhausted::nothing, id, cause});
  }
}

void supervision::forget(child_record& child) {
  resolve(child);
  answer_all(child.requests, request_outcome::stopped);
  answer_all(child.stop_requests, request_outcome::done);
  todo_.emplace_back(forget_child{child.id});
  children_.remove(child);
}

// One child.

void supervision::start(child_record& child) {
  ++child.run;
  child.killed = false;
  children_.set_phase(child, child_phase::starting);
  children_.set_due(child, later(now_, child.spec.start_timeout));
  todo_.emplace_back(start_child{child.id, child.run});
}

void supervision::stop(child_record& child, after_stop then) {
  children_.set_phase(child, child_phase::stopping);
  child.then = then;
  if (child.spec.shutdown == brutal_kill) {
    kill(child);
    return;
  }
  children_.set_due(child, later(now_, child.spec.shutdown));
  todo_.emplace_back(ask_child_to_stop{child.id, child.run});
}

void supervision::kill(child_record& child) {
  child.killed = true;
  children_.set_due(child, std::nullopt);
  todo_.emplace_back(kill_child{child.id, child.run});
}

void supervision::pause(child_record& child, std::chrono::milliseconds delay) {
  children_.set_phase(child, child_phase::pausing);
  children_.set_due(child, later(now_, delay));
}

void supervision::end_pause(child_record& child) {
  children_.set_due(child, std::nullopt);
  if (rules_.strategy == strategy::one_for_one) {
    start(child);
    return;
  }
  set_waiting(child);
  resolve(child);
  if (sweep_ == sweep::none) {
    sweep_ = sweep::up;
  }
}

void supervision::set_stopped(child_record& child) {
  children_.set_due(child, std::nullopt);
  children_.set_phase(child, child_phase::stopped);
  resolve(child);
}

void supervision::set_waiting(child_record& child) {
  children_.set_due(child, std::nullopt);
  children_.set_phase(child, child_phase::waiting);
}

// Several children.

void supervision::begin_group(std::uint64_t from) {
  group_from_ = sweep_ == sweep::down ? std::min(group_from_, from) : from;
  sweep_ = sweep::down;
  if (const child_record* current = children_.find(current_);
      current != nullptr && current->rank >= group_from_) {
    current_ = 0;
  }
  for (child_record* child : children_.dynamic_from(group_from_)) {
    if (child->phase == child_phase::starting || child->phase == child_phase::running) {
      stop(*child, after_stop::wait);
    }
  }
}

void supervision::begin_stop(const supervisor_ended& end) {
  if (stage_ == stage::stopping || stage_ == stage::ended) {
    return;
  }
  stage_ = stage::stopping;
  sweep_ = sweep::down;
  group_from_ = 0;
  end_ = end;
  for (child_record* child : children_.from(0)) {
    answer_all(child->requests, request_outcome::supervisor_stopping);
    if (child->phase == child_phase::waiting || child->phase == child_phase::pausing) {
      set_stopped(*child);
    } else if (child->dynamic &&
               (child->phase == child_phase::starting || child->phase == child_phase::running)) {
      stop(*child, after_stop::shut_down);
    }
  }
}

void supervision::advance() {
  if (sweep_ == sweep::down && step_down()) {
    if (stage_ == stage::stopping) {
      stage_ = stage::ended;
      sweep_ = sweep::none;
      todo_.emplace_back(end_);
      return;
    }
    sweep_ = sweep::up;
    for (child_record* child : children_.from(group_from_)) {
      if (child->phase == child_phase::stopped && !child->by_user) {
        set_waiting(*child);
      }
    }
  }
  if (sweep_ == sweep::up) {
    step_up();
  }
}

bool supervision::step_down() {
  child_record* const last = children_.last_alive();
  if (last == nullptr || last->rank < group_from_) {
    return true;
  }
  if (last->phase != child_phase::stopping) {
    stop(*last, stage_ == stage::stopping ? after_stop::shut_down : after_stop::wait);
  }
  return false;
}

void supervision::step_up() {
  // A group is started when the backoff of the child whose end stopped it is over.
  while (current_ == 0 &&
         (rules_.strategy == strategy::one_for_one || children_.count(child_phase::pausing) == 0)) {
    child_record* const next = children_.first_waiting();
    if (next == nullptr) {
      sweep_ = sweep::none;
      if (!std::exchange(ready_told_, true)) {
        todo_.emplace_back(supervisor_ready{});
      }
      return;
    }
    start(*next);
    if (!next->dynamic) {
      current_ = next->id;
    }
  }
}

}  // namespace troupe::detail
