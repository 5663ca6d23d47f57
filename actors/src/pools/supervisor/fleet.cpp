// SPDX-License-Identifier: BSD-3-Clause
#include "pools/supervisor/fleet.hpp"

#include "troupe/log.hpp"

#include "scheduling/replacement.hpp"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

namespace troupe::detail {
namespace {

pool_size size_of(const pool_options& options) {
  if (options.min_workers || options.max_workers) {
    return {options.min_workers.value_or(1), options.max_workers.value_or(options.workers)};
  }
  return {options.workers, options.workers};
}

}  // namespace

fleet::fleet(pool_state& state, worker_control& control, pool_life& life)
    : state_{state},
      control_{control},
      life_{life},
      starter_{state},
      rules_{state.options.max_tasks_per_worker, state.options.max_worker_rss},
      size_{size_of(state.options)} {}

void fleet::start() {
  for (int i = 0; i < size_.target() && state_.phase == pool_phase::starting; ++i) {
    launch();
  }
}

void fleet::launch() {
  if (auto why = starter_.launch(task_limit_of(launched_++, size_.most(), rules_.task_limit()))) {
    on_failed_start(std::move(why), true);
  }
}

void fleet::maintain() {
  if (starter_.pauses() || (state_.phase == pool_phase::closing && !state_.work_left())) {
    return;
  }
  int have = state_.workers.count([](const worker_record* worker) { return worker->staying(); });
  // Also while the pool starts: a worker that is ready already may die.
  for (; have < size_.wanted() && !starter_.pauses() &&
         (state_.serving() || state_.phase == pool_phase::starting);
       ++have) {
    launch();
  }
}

void fleet::on_failed_start(std::shared_ptr<const failure> why, bool transient) {
  if (state_.phase == pool_phase::starting) {
    life_.abandon_start(std::move(why));
    return;
  }
  if (!state_.serving()) {
    return;
  }
  restart_verdict decision;
  if (transient) {
    decision.delay = starter_.on_refused_start();
  } else {
    decision = starter_.on_failed_start();
  }
  if (transient && size_.parents() > 0 && starter_.refused_for_long()) {
    shortage_ = why;
    state_.dispatch_due = true;
  }
  log(log_level::warning, why->text);
  if (decision.give_up()) {
    life_.break_pool("a replacement could not be started " +
                     std::to_string(starter_.failed_starts()) + " times in a row: " + why->text);
    return;
  }
  starter_.pause(decision.delay);
}

void fleet::on_relaunch() {
  starter_.end_pause();
  maintain();
}

void fleet::on_ready(worker_record& worker) {
  worker.phase = worker_phase::ready;
  worker.pace.last_progress = state_.now();
  starter_.note_started();
  control_.count_ready();
  if (state_.options.max_worker_age) {
    state_.set_timer(later(worker.pace.last_progress, *state_.options.max_worker_age), timer::age,
                     worker.id);
  }
  if (state_.phase != pool_phase::starting) {
    shed_surplus();
  } else if (!state_.workers.some_start() &&
             static_cast<int>(state_.workers.size()) == size_.target()) {
    life_.open();
  }
}

void fleet::on_death(std::int64_t pid, charge what) {
  const restart_verdict verdict = starter_.on_death(what);
  if (verdict.why == exhausted::forgiven) {
    life_.break_pool("workers died " + std::to_string(max_forgiven_in_row) +
                     " times in a row of what is not their fault; the last one was pid " +
                     std::to_string(pid));
  } else if (verdict.give_up()) {
    const restart_limits& limits = starter_.limits();
    life_.break_pool(std::to_string(limits.intensity + 1) + " workers died within " +
                     std::to_string(limits.period.count()) +
                     " ms (see pool_options::limits); the last one was pid " + std::to_string(pid));
  } else if (verdict.delay.count() > 0) {
    starter_.pause(verdict.delay);
  }
}

void fleet::forget(std::uint64_t id) {
  worker_record* const worker = state_.workers.find(id);
  state_.host.unwatch(worker->channel->socket());
  state_.host.dismiss(id);
  control_.unbind(*worker);
  state_.workers.remove(id);
  control_.count_ready();
}

void fleet::retire(worker_record& worker, retirement why) {
  if (!worker.usable()) {
    return;
  }
  worker.phase = worker_phase::retiring;
  worker.retiring_for = why;
  some_retire_ = true;
  control_.unbind(worker);
  control_.take_back(worker);
  control_.count_ready();
}

void fleet::retire_drained() {
  if (!rules_.max_tasks && !some_retire_) {
    return;
  }
  some_retire_ = false;
  for (worker_record* worker : state_.workers) {
    if (worker->phase == worker_phase::ready && worker->sent.assigned() >= worker->task_limit) {
      worker->phase = worker_phase::retiring;
      worker->retiring_for = retirement::tasks;
      control_.unbind(*worker);
    } else if (worker->phase == worker_phase::retiring &&
               worker->retiring_for == retirement::tasks &&
               worker->sent.assigned() < worker->task_limit) {
      worker->phase = worker_phase::ready;  // tasks were taken back, so it may run others
      worker->retiring_for = retirement::none;
    }
    some_retire_ = some_retire_ || worker->phase == worker_phase::retiring ||
                   worker->due_for != retirement::none;
  }
  if (!some_retire_) {
    return;
  }
  maintain();
  let_replaced_go();
  const auto has_drained = [](const worker_record* worker) {
    return worker->phase == worker_phase::retiring && worker->sent.outstanding() == 0 &&
           !worker->leaving;
  };
  const int ready = state_.workers.ready();
  const int starting = state_.workers.count(
      [](const worker_record* worker) { return worker->phase == worker_phase::starting; });
  int early = may_leave_early(state_.workers.count(has_drained), starting);
  for (worker_record* worker : state_.workers.copy()) {
    if (has_drained(worker) &&
        (may_leave(worker->retiring_for, ready, size_.target(), starting > 0) || early > 0)) {
      --early;
      control_.stop(*worker);
    }
  }
  control_.count_ready();
}

void fleet::replace(worker_record& worker, retirement why) {
  if (!worker.usable() || !works_until_replaced(why)) {
    retire(worker, why);
  } else if (worker.due_for == retirement::none) {
    worker.due_for = why;
    some_retire_ = true;
  }
}

void fleet::let_replaced_go() {
  int may_go = may_be_let_go(state_.workers.ready(), size_.wanted());
  for (worker_record* worker : state_.workers) {
    if (may_go > 0 && worker->usable() && worker->due_for != retirement::none) {
      retire(*worker, worker->due_for);
      --may_go;
    }
  }
}

void fleet::on_age(worker_record& worker) {
  const sent_tasks& sent = worker.sent;
  const bool has_begun_none = sent.outstanding() > 0 && sent.outstanding() == sent.assigned() &&
                              sent.all().front().next_number() >= worker.channel->undecided();
  if (worker.usable() && (has_begun_none || state_.phase == pool_phase::starting)) {
    state_.set_timer(later(state_.now(), *state_.options.max_worker_age), timer::age, worker.id);
    return;
  }
  replace(worker, retirement::age);
  retire_drained();
}

void fleet::check_memory(worker_record& worker) {
  const steady_time now = state_.now();
  if (worker.phase != worker_phase::ready || worker.due_for != retirement::none ||
      worker.sent.outstanding() == worker.sent.assigned() ||
      !rules_.looks_at_memory(worker.sent.outstanding() > 0, now, worker.memory_checked)) {
    return;
  }
  worker.memory_checked = now;
  const std::uint64_t resident = state_.host.resident_bytes(worker.pid);
  if (rules_.too_large(resident)) {
    log(log_level::info,
        "worker " + std::to_string(worker.id) + " (pid " + std::to_string(worker.pid) + ") of " +
            state_.face.title() + " is recycled: it holds " + std::to_string(resident) +
            " bytes of memory, the limit is " + std::to_string(*rules_.max_resident_bytes));
    replace(worker, retirement::memory);
  }
}

void fleet::resize(int workers) {
  if (state_.phase != pool_phase::open) {
    return;
  }
  size_.set(workers);
  state_.face.note_size(size_.most());
  maintain();
  shed_surplus();
  state_.dispatch_due = true;
}

void fleet::grow() {
  if (size_.may_grow() && state_.phase != pool_phase::starting && state_.queue.next() != nullptr &&
      !state_.workers.some_start()) {
    size_.grow(state_.counts.queued);
    maintain();
  }
}

void fleet::shed_surplus() {
  int surplus = size_.surplus(
      state_.workers.count([](const worker_record* worker) { return worker->staying(); }));
  if (surplus == 0) {
    return;
  }
  std::vector<worker_record*> ready;
  for (worker_record* worker : state_.workers) {
    if (worker->usable()) {
      ready.push_back(worker);
    }
  }
  std::sort(ready.begin(), ready.end(), [](const worker_record* a, const worker_record* b) {
    return goes_before(a->sent.outstanding(), a->id, b->sent.outstanding(), b->id);
  });
  for (worker_record* worker : ready) {
    if (surplus-- == 0) {
      break;
    }
    retire(*worker, retirement::surplus);
  }
  retire_drained();
}

bool fleet::is_idle(const worker_record& worker) const {
  return worker.usable() && worker.sent.outstanding() == 0 && !state_.queue.waits_for(worker.id);
}

void fleet::watch_idle() {
  if (idle_timer_ || !size_.may_shrink() || state_.phase != pool_phase::open) {
    return;
  }
  steady_time first = steady_time::max();
  for (const worker_record* worker : state_.workers) {
    if (is_idle(*worker)) {
      first = std::min(first, later(worker->pace.last_progress, state_.options.idle_timeout));
    }
  }
  if (first != steady_time::max()) {
    idle_timer_ = true;
    state_.set_timer(first, timer::idle);
  }
}

void fleet::on_idle_timer() {
  idle_timer_ = false;
  if (state_.phase != pool_phase::open || !size_.elastic()) {
    return;
  }
  const steady_time now = state_.now();
  for (worker_record* worker : state_.workers.copy()) {
    if (size_.may_shrink() && is_idle(*worker) &&
        later(worker->pace.last_progress, state_.options.idle_timeout) <= now) {
      size_.shrink();
      retire(*worker, retirement::surplus);
    }
  }
  retire_drained();
  state_.dispatch_due = true;
}

void fleet::compensate(bool some_wait, bool some_have_room, bool more_wait) {
  switch (size_.compensate(some_wait, some_have_room, more_wait)) {
    case pool_size::change::more:
      maintain();
      break;
    case pool_size::change::fewer:
      shed_surplus();
      break;
    case pool_size::change::none:
      break;
  }
}

}  // namespace troupe::detail
