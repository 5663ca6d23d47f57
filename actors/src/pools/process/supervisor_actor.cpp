// SPDX-License-Identifier: BSD-3-Clause
#include "pools/process/supervisor_actor.hpp"

#include "troupe/codec.hpp"
#include "troupe/log.hpp"

#include "host/runtime.hpp"

#include <algorithm>
#include <csignal>
#include <cstring>
#include <utility>

namespace troupe::detail {
namespace {

/// Its mailbox is the supervisor's one entrance: it lets one thread in at a time.
class supervisor_actor final : public compat::pinned_actor {
 public:
  supervisor_actor(caf::actor_config& config, pool_core* core)
      : compat::pinned_actor{config}, supervisor_{std::make_unique<supervisor>(*core)} {}

  caf::behavior make_behavior() override {
    return {[this](std::uint32_t kind, std::uint64_t number, std::string& bytes) {
      if (kind == 0) {
        supervisor_.reset();
        quit();
      } else if (supervisor_) {
        supervisor_->handle(static_cast<supervisor_message>(kind), number, bytes);
      }
    }};
  }

 private:
  std::unique_ptr<supervisor> supervisor_;
};

}  // namespace

caf::actor spawn_supervisor(caf::actor_system& system, pool_core& core) {
  return compat::spawn<supervisor_actor, caf::lazy_init>(system, &core);
}

supervisor::supervisor(pool_core& core)
    : core_{core},
      options_{core.options()},
      method_{options_.start.value_or(get_start_method())},
      stats_{core.counts()},
      queued_{stats_.queued},
      outstanding_{stats_.running} {
  if (options_.min_workers || options_.max_workers) {
    most_ = options_.max_workers.value_or(options_.workers);
    least_ = target_ = options_.min_workers.value_or(1);
  } else {
    least_ = most_ = target_ = options_.workers;
  }
  const configure_header header{
      options_.max_payload_bytes, static_cast<std::uint64_t>(options_.concurrency),
      runtime::depth() + 1, static_cast<std::uint64_t>(get_start_method())};
  byte_buffer bytes;
  bytes.append(&header, sizeof header);
  if (options_.initializer) {
    const attachment_collector scope{configuration_attachments_};
    encode(bytes, options_.initializer);
  }
  configuration_.assign(bytes.bytes().begin(), bytes.bytes().end());
}

supervisor::~supervisor() {
  for (const auto& [id, worker] : workers_) {
    core_.host().unwatch(worker->channel->socket());
    core_.host().dismiss(id);
  }
}

void supervisor::handle(supervisor_message kind, std::uint64_t number, std::string& bytes) {
  switch (kind) {
    case supervisor_message::run_task:
      accept(number, bytes);
      break;
    case supervisor_message::ask: {
      auto* const asked = reinterpret_cast<question*>(static_cast<std::uintptr_t>(number));
      asked->answer(*this);
      finish_turn();
      // The asker may be gone right after the store; only the address is used then.
      if (asked->answered.exchange(question::yes, std::memory_order_acq_rel) ==
          question::waited_for) {
        futex_wake_all(asked->answered);
      }
      return;
    }
    case supervisor_message::channel_ready:
      if (worker_record* worker = find(number)) {
        service(*worker);
      }
      break;
    case supervisor_message::look:
      for (std::size_t i = 0; i < ring_.size(); ++i) {
        if (ring_[i]->outstanding > 0 && ring_[i]->channel->readable()) {
          service(*ring_[i]);
        }
      }
      break;
    case supervisor_message::worker_started:
      if (worker_record* worker = find(number)) {
        std::memcpy(&worker->pid, bytes.data(), sizeof worker->pid);
      }
      break;
    case supervisor_message::start_failed: {
      int code = 0;
      std::memcpy(&code, bytes.data(), sizeof code);
      on_start_failed(number, code);
      break;
    }
    case supervisor_message::worker_exited:
      on_exit(number, decode_notice(bytes));
      break;
    case supervisor_message::time_passed: {
      timer_argument argument;
      std::memcpy(&argument, bytes.data(), sizeof argument);
      on_timer(static_cast<timer>(number), argument);
      break;
    }
  }
  finish_turn();
}

void supervisor::finish_turn() {
  do {
    while (!sweeps_.empty()) {
      const auto group = std::move(sweeps_.back());
      sweeps_.pop_back();
      sweep_group(group);
    }
    if (dispatch_due_) {
      dispatch();
    }
    // Tasks may fail while they are sent, and what waited for a worker that has done enough is free
    // to go elsewhere.
  } while (!sweeps_.empty() || dispatch_due_);
  check_finished();
}

void supervisor::accept(std::uint64_t ticket, std::string& bytes) {
  std::shared_ptr<process_submission> work = core_.submissions().take(ticket);
  work->bytes = std::move(bytes);
  work->number = next_submission_++;
  work->prepare();
  stats_.submitted += work->count;
  if (state_ != state::open && state_ != state::starting) {
    core_.note_dequeued(work->count);
    if (state_ == state::broken) {
      fail_pending(*work, errc::pool_broken, core_.title() + " is broken: " + broken_because_);
    } else {
      fail_pending(*work, errc::pool_closed, core_.title() + " is closed: it takes no more work");
    }
    return;
  }
  const int priority = work->options().priority;
  if (priority > lowest_priority_) {
    // It goes before what was sent ahead to a worker and has not begun.
    for (const auto& [id, worker] : workers_) {
      if (worker->outstanding > 1 && worker->sent.back().what.work->options().priority < priority) {
        take_back(*worker);
      }
    }
  }
  lowest_priority_ = std::min(lowest_priority_, priority);
  if (work->options().deadline) {
    watch_deadline(work);
  }
  const std::uint32_t count = work->count;
  if (work->group && work->group->cancelled) {
    sweeps_.push_back(work->group);  // it was on its way when its map was cut off
  }
  enqueue({std::move(work), 0, count, 1});
  dispatch_due_ = true;
}

void supervisor::start() {
  for (int i = 0; i < target_ && state_ == state::starting; ++i) {
    launch_worker();
  }
}

void supervisor::close() {
  if (state_ == state::open || state_ == state::starting) {
    state_ = state::closing;
    dispatch_due_ = true;  // what came while it started
    core_.refuse_because(errc::pool_closed, core_.title() + " is closed: it takes no more work");
  }
}

void supervisor::terminate() {
  if (state_ == state::terminating || state_ == state::finished || state_ == state::broken) {
    return;
  }
  state_ = state::terminating;
  core_.refuse_because(errc::pool_closed, core_.title() + " was terminated: it takes no more work");
  for (const auto& [id, worker] : workers_) {
    take_back(*worker);
  }
  fail_everything(errc::cancelled,
                  "cancelled: " + core_.title() + " was terminated before it began");
  for (const auto& [id, worker] : workers_) {
    for (const sent_range& sent : worker->sent) {
      if (sent.what.work) {
        worker->stop_reasons[sent.number + sent.done] = stop_reason::cancelled;
        request_stop(*worker, sent.number + sent.done);
      }
    }
    worker->phase = worker_phase::stopping;
    core_.host().signal(id, SIGTERM);
    set_timer(later(core_.host().now(), options_.grace), timer::worker_grace, {id, 0});
  }
}

void supervisor::break_pool(const std::string& why) {
  if (state_ == state::broken || state_ == state::finished) {
    return;
  }
  const bool terminating = state_ == state::terminating;
  state_ = state::broken;
  broken_because_ = why;
  const std::string text = core_.title() + " is broken: " + why;
  log(log_level::error, text);
  core_.refuse_because(errc::pool_broken, text);
  for (const auto& [id, worker] : workers_) {
    take_back(*worker);
    core_.host().signal(id, SIGKILL);
    worker->leaving = true;
  }
  fail_everything(terminating ? errc::cancelled : errc::pool_broken, text);
}

void supervisor::abandon_start(std::shared_ptr<const failure> why) {
  if (start_failure_) {
    return;
  }
  start_failure_ = std::move(why);
  state_ = state::terminating;
  core_.refuse_because(errc::pool_closed, core_.title() + " could not be started");
  for (const auto& [id, worker] : workers_) {
    worker->leaving = true;
    core_.host().signal(id, SIGKILL);
  }
  fail_everything(errc::pool_closed, core_.title() + " could not be started");
}

void supervisor::check_finished() {
  if (state_ == state::closing && !work_left()) {
    stop_workers();
  }
  const bool ending =
      state_ == state::closing || state_ == state::terminating || state_ == state::broken;
  if (ending && workers_.empty() && !work_left()) {
    state_ = state_ == state::broken ? state::broken : state::finished;
    core_.note_finished();
  }
}

void supervisor::set_timer(steady_time when, timer what, timer_argument argument) {
  if (when == steady_time::max()) {
    return;
  }
  core_.host().call_at(when, [weak = core_.weak_from_this(), what, argument] {
    if (const auto core = weak.lock()) {
      core->tell(supervisor_message::time_passed, static_cast<std::uint64_t>(what),
                 to_bytes(argument));
    }
  });
}

void supervisor::on_timer(timer what, const timer_argument& argument) {
  switch (what) {
    case timer::relaunch:
      relaunch_at_.reset();
      maintain();
      return;
    case timer::balance:
      balance_timer_ = false;
      balance();
      return;
    case timer::idle:
      on_idle_timer();
      return;
    case timer::due:
      on_due_timer();
      return;
    case timer::retry:
      requeue(argument.number);
      return;
    default:
      if (worker_record* worker = find(argument.worker)) {
        on_worker_timer(*worker, what, argument.number);
      }
  }
}

void supervisor::on_worker_timer(worker_record& of, timer what, std::uint64_t number) {
  worker_record* const worker = &of;
  switch (what) {
    case timer::start_limit:
      if (worker->phase == worker_phase::starting) {
        auto why = std::make_shared<failure>();
        why->code = errc::start_timeout;
        why->ran = task_ran::no;
        why->text = "a worker of " + core_.title() + " (pid " + std::to_string(worker->pid) +
                    ") was not ready within " + std::to_string(options_.start_timeout.count()) +
                    " ms: raise .start_timeout, or look at what its initializer does";
        worker->start_failure = std::move(why);
        kill_worker(*worker, "it was not ready in time");
      }
      break;
    case timer::task_limit:
      on_task_limit(*worker);
      break;
    case timer::task_grace:
      if (const auto stopped = worker->stop_reasons.find(number);
          stopped != worker->stop_reasons.end()) {
        worker->ended_for = number;
        kill_worker(*worker, stopped->second == stop_reason::cancelled
                                 ? "its task was cancelled by force"
                                 : "its task ran out of time");
      }
      break;
    case timer::worker_grace:
      kill_worker(*worker, "it did not leave within the grace time");
      break;
    case timer::unblock:
      worker->unblock_timer = false;
      send_outcomes(*worker);
      worker->blocked = false;
      dispatch_due_ = true;
      send_stops(*worker);
      break;
    case timer::age:
      retire(*worker, retirement::age);
      retire_drained();
      break;
    default:
      break;
  }
}

std::vector<worker_info> supervisor::workers() const {
  std::vector<worker_info> found;
  for (const auto& [id, worker] : workers_) {
    if (worker->usable()) {
      found.push_back({id, worker->pid});
    }
  }
  return found;
}

bool supervisor::is_running(const process_submission& which) const {
  for (const auto& [id, worker] : workers_) {
    for (const sent_range& sent : worker->sent) {
      if (sent.what.work.get() == &which &&
          sent.number + sent.done < worker->channel->undecided()) {
        return true;
      }
    }
  }
  return false;
}

}  // namespace troupe::detail
