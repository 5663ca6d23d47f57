// SPDX-License-Identifier: BSD-3-Clause
#include "pools/workers/loss_report.hpp"

#include <csignal>
#include <cstdio>
#include <string>
#include <utility>

namespace troupe::detail {
namespace {

/// How a process ended: what the kernel says, and what the process itself noted down.
void describe_end(failure& into, const exit_notice& notice, std::optional<crash_report> crash) {
  into.exit_kind = notice.kind;
  into.exit_value = notice.value;
  auto& death = into.death.emplace();
  death.usage = notice.usage;
  death.out_of_memory = notice.out_of_memory;
  death.stderr_tail = notice.stderr_tail;
  if (!crash || notice.kind != 2) {
    return;
  }
  if (crash->details.signal != notice.value) {
    // The crash handler itself may have been ended, by the alarm that bounds it or by a fault on a
    // damaged stack: then the first signal is the reason. Any other signal came independently.
    const bool while_noting =
        !crash->complete &&
        (notice.value == SIGSEGV || notice.value == SIGBUS || notice.value == SIGILL);
    if (notice.value != SIGALRM && !while_noting) {
      return;
    }
    into.exit_value = crash->details.signal;
  }
  death.crash = std::move(crash->details);
}

std::string reason_of(const failure& what) {
  if (what.exit_kind == 1) {
    return to_string(exit_status{exited{what.exit_value}});
  }
  if (what.exit_kind != 2) {
    return "unknown: its fork server died, or another process took its status";
  }
  std::string text = to_string(exit_status{killed_by{what.exit_value}});
  if (const std::string limit = limit_of_signal(what.exit_value); !limit.empty()) {
    text += ", as for going over " + limit;
  }
  if (!what.death) {
    return text;
  }
  if (what.death->out_of_memory == oom_kill::yes) {
    text += ", by the kernel's OOM killer";
  }
  if (what.death->crash) {
    const crash_details& crash = *what.death->crash;
    text += ", " + describe_signal_code(crash.signal, crash.code);
    if (crash.address) {
      char address[24];
      std::snprintf(address, sizeof address, "0x%llx",
                    static_cast<unsigned long long>(*crash.address));
      text += ", at " + std::string{address};
    }
    text += crash.stack_overflow ? ", most likely a stack overflow" : "";
  }
  return text;
}

}  // namespace

std::string overrun(const process_submission& work, stop_reason why) {
  return why == stop_reason::overdue
             ? work.name() + " was not done by its deadline of " +
                   std::to_string(work.options().deadline->count()) + " ms after it was submitted"
             : work.name() + " ran longer than its timeout of " +
                   std::to_string(work.options().timeout->count()) + " ms";
}

attempt_end end_of_attempt(const failure& loss) {
  return {loss.attempt, loss.pid, loss.exit_kind, loss.exit_value, reason_of(loss)};
}

std::shared_ptr<const failure> end_of_start(const pool_state& state, std::int64_t pid,
                                            const exit_notice& notice,
                                            std::optional<crash_report> crash) {
  auto why = std::make_shared<failure>();
  why->code = errc::spawn_failed;
  why->ran = task_ran::no;
  why->pid = pid;
  why->host = state.host.host_name();
  describe_end(*why, notice, std::move(crash));
  why->text =
      "a worker of " + state.face.title() + " (pid " + std::to_string(pid) + ") ended with " +
      reason_of(*why) +
      (state.options.initializer ? " in or before its initializer" : " before it was ready");
  return why;
}

failure loss_of(const pool_state& state, const worker_record& worker, const sent_range& sent,
                std::uint32_t item, const exit_notice& notice) {
  failure loss;
  loss.task = sent.what.work->number;
  loss.attempt = sent.what.attempt.number;
  loss.pid = worker.pid;
  loss.host = state.host.host_name();
  loss.ran = task_ran::maybe;
  loss.stage = "run";
  describe_end(loss, notice, worker.channel->crash());
  if (!worker.stops.reasons.empty() || !worker.notes.killed_because.empty()) {
    loss.death->out_of_memory = oom_kill::no;  // the supervisor sent the SIGKILL
  }
  const std::string task =
      (sent.what.work->count > 1 ? "item " + std::to_string(item) + " of " : "") +
      sent.what.work->name();
  const stop_reason* const stopped = worker.stops.reason(sent.next_number());
  if (stopped != nullptr && *stopped != stop_reason::cancelled) {
    loss.code = errc::timeout;
    loss.text = overrun(*sent.what.work, *stopped) +
                " and did not stop within the grace time: its worker (pid " +
                std::to_string(worker.pid) + ") was killed and replaced";
    return loss;
  }
  // Whatever is lost with a worker while its pool terminates is lost because of that.
  if (stopped != nullptr || state.phase == pool_phase::terminating) {
    loss.code = errc::cancelled;
    loss.text = task + " was cancelled while it ran: its worker (pid " +
                std::to_string(worker.pid) + ") was ended";
    return loss;
  }
  if (state.phase == pool_phase::broken && notice.kind == 2 && notice.value == SIGKILL) {
    loss.death->out_of_memory = oom_kill::no;
    loss.code = errc::pool_broken;
    loss.text = task + " was running when " + state.face.title() + " broke: its worker (pid " +
                std::to_string(worker.pid) + ") was killed";
    return loss;
  }
  loss.code = errc::worker_lost;
  std::string how = notice.with_server
                        ? "died with the fork server"
                        : "ended in an unknown way (another wait took its exit status),";
  if (notice.kind == 1) {
    how = "ended with " + reason_of(loss);
  } else if (notice.kind == 2) {
    how = "died of " + reason_of(loss);
  }
  loss.text = task + ": worker " + std::to_string(worker.id) + " (pid " +
              std::to_string(worker.pid) + ") " + how + " while running it (attempt " +
              std::to_string(loss.attempt) + ")" +
              (worker.notes.killed_because.empty() ? ""
               : worker.stops.killed_for == 0      ? "; " + worker.notes.killed_because
                                              : "; another task of that worker had to be ended");
  return loss;
}

}  // namespace troupe::detail
