// SPDX-License-Identifier: BSD-3-Clause
#include "pools/supervisor/worker_losses.hpp"

#include "troupe/log.hpp"

#include "os/shortage.hpp"
#include "pools/workers/loss_report.hpp"

#include <algorithm>
#include <cerrno>
#include <string>
#include <utility>

namespace troupe::detail {
namespace {

bool is_transient(int code) {
  return code == EAGAIN || code == ENOMEM || code == EMFILE || code == ENFILE || code == ESRCH ||
         code == ETOOMANYREFS;
}

/// What a death costs the pool. docs/supervision.md has the reasons.
charge charge_for(const exit_notice& notice, bool is_charged) {
  if (!is_charged) {
    return charge::free;
  }
  return notice.with_server || notice.out_of_memory == oom_kill::yes ? charge::forgiven
                                                                     : charge::counts;
}

}  // namespace

void worker_losses::lose(const worker_record& worker, sent_range sent, const exit_notice& notice) {
  if (worker.stops.killed_for != 0 && worker.stops.reason(sent.next_number()) == nullptr) {
    sent.what.attempt.forgive();  // the worker was killed to end another of its tasks
  }
  for (std::uint32_t done = sent.done; done < sent.what.count; ++done) {
    const std::uint32_t item = sent.what.first + done;
    --state_.counts.running;
    failure loss = loss_of(state_, worker, sent, item, notice);
    if (loss.code == errc::worker_lost) {
      loss.attempts = {end_of_attempt(loss)};
    }
    ledger_.conclude(sent.what, item, std::make_shared<const failure>(std::move(loss)));
  }
}

bool worker_losses::settle(worker_record& worker, const exit_notice& notice) {
  const bool counts = worker.phase != worker_phase::stopping &&
                      worker.phase != worker_phase::starting &&
                      state_.phase != pool_phase::broken && state_.phase != pool_phase::terminating;
  // Results that the worker published before its end count. After them the claim word says exactly
  // which tasks it had begun.
  worker.leaving = true;
  reader_.service(worker);
  nested_.on_death(worker);
  control_.abandon(worker);
  stopper_.on_death(worker);
  const bool is_death = counts && worker.stops.killed_for == 0;
  bool is_charged = false;
  if (is_death) {
    // Counted before any outcome tells the user of the death.
    ++state_.counts.deaths;
    // Deaths in tasks with retries are bounded by the number of their attempts.
    const auto& sent = worker.sent.all();
    is_charged = sent.empty() || std::any_of(sent.begin(), sent.end(), [](const sent_range& one) {
                   return one.what.work && one.what.work->options().retries == 0;
                 });
  }
  while (auto sent = worker.sent.take_front()) {
    lose(worker, std::move(*sent), notice);
  }
  state_.dispatch_due = true;
  return is_charged;
}

void worker_losses::on_exit(std::uint64_t id, const exit_notice& notice) {
  worker_record* const worker = state_.workers.find(id);
  if (worker == nullptr) {
    return;
  }
  if (worker->pid == 0) {
    worker->pid = notice.pid;
  }
  const worker_phase phase = worker->phase;
  const bool is_charged = settle(*worker, notice);
  const end_notes notes = worker->notes;
  const bool surplus = worker->retiring_for == retirement::surplus;
  const bool recycled = !surplus && (worker->retiring_for != retirement::none ||
                                     worker->sent.assigned() >= worker->task_limit);
  const std::int64_t pid = worker->pid;
  auto crash = worker->channel->crash();
  const bool killed_for_task = worker->stops.killed_for != 0;
  fleet_.forget(id);
  if (phase == worker_phase::stopping) {
    state_.counts.recycled += recycled ? 1 : 0;
    state_.counts.retired += surplus ? 1 : 0;
  } else if (state_.phase == pool_phase::broken || state_.phase == pool_phase::terminating) {
    // The worker ends with the pool.
  } else if (phase == worker_phase::starting) {
    fleet_.on_failed_start(notes.start_failure
                               ? notes.start_failure
                               : end_of_start(state_, pid, notice, std::move(crash)),
                           false);
  } else if (!killed_for_task) {
    log(log_level::info, "worker " + std::to_string(id) + " (pid " + std::to_string(pid) + ") of " +
                             state_.face.title() + " died" +
                             (notes.killed_because.empty() ? "" : ": " + notes.killed_because));
    fleet_.on_death(pid, charge_for(notice, is_charged));
  }
  fleet_.maintain();
  fleet_.retire_drained();
}

void worker_losses::on_start_failed(std::uint64_t id, int code) {
  worker_record* const worker = state_.workers.find(id);
  if (worker == nullptr) {
    return;
  }
  const bool unwanted = worker->phase == worker_phase::stopping;
  const bool surplus = worker->retiring_for == retirement::surplus;
  const auto known = worker->notes.start_failure;
  fleet_.forget(id);
  if (unwanted) {
    // Killed before it was forked, because it was no longer wanted: no failure.
    state_.counts.retired += surplus ? 1 : 0;
    fleet_.maintain();
    fleet_.retire_drained();
    return;
  }
  fleet_.on_failed_start(
      known ? known
            : plain_failure(
                  errc::spawn_failed, task_ran::no,
                  "cannot start a worker of " + state_.face.title() + ": " + shortage_text(code)),
      is_transient(code));
}

}  // namespace troupe::detail
