// SPDX-License-Identifier: BSD-3-Clause

// Workers come and go.

#include "troupe/log.hpp"

#include "os/shortage.hpp"
#include "pools/process/supervisor_actor.hpp"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <utility>

namespace troupe::detail {
namespace {

bool is_transient(int code) {
  return code == EAGAIN || code == ENOMEM || code == EMFILE || code == ENFILE || code == ESRCH ||
         code == ETOOMANYREFS;
}

/// Refused starts in a row after which tasks of tasks do not wait any longer for a worker that
/// their parents do not hold. The pauses between them double.
constexpr int refusals_borne = 3;

}  // namespace

std::shared_ptr<failure> plain_failure(errc code, task_ran ran, std::string text) {
  auto made = std::make_shared<failure>();
  made->code = code;
  made->ran = ran;
  made->text = std::move(text);
  return made;
}

worker_record* supervisor::find(std::uint64_t id) {
  const auto found = workers_.find(id);
  return found == workers_.end() ? nullptr : found->second.get();
}

void supervisor::launch_worker() {
  auto made = std::make_unique<worker_record>();
  try {
    made->channel = std::make_unique<supervisor_channel>();
    made->id = core_.host().enroll(core_.shared_from_this());
    std::byte* const room = made->channel->begin_frame(configuration_.size());
    if (room == nullptr) {
      throw error{errc::payload_too_large, task_ran::no,
                  "the initializer's arguments take " + std::to_string(configuration_.size()) +
                      " bytes, the limit is " + std::to_string(max_frame_bytes) +
                      ": pass a file name or a shared object instead"};
    }
    std::memcpy(room, configuration_.data(), configuration_.size());
    if (!configuration_attachments_.empty()) {
      if (const int code = made->channel->send_attachments(0, configuration_attachments_);
          code != 0) {
        throw shortage("what the initializer of " + core_.title() +
                           " refers to could not be sent to a new worker",
                       code);
      }
    }
    made->channel->publish(
        {static_cast<std::uint32_t>(configuration_.size()), frame_kind::configure,
         configuration_attachments_.empty() ? std::uint16_t{0} : has_attachments, 0});
    made->channel->arm();
    core_.host().watch(made->channel->socket(), [weak = core_.weak_from_this(), id = made->id] {
      if (const auto core = weak.lock()) {
        core->tell(supervisor_message::channel_ready, id);
      }
    });
  } catch (const error&) {
    if (made->id != 0) {
      core_.host().dismiss(made->id);
    }
    failed_start(std::make_shared<const failure>(capture_failure(std::current_exception())), true);
    return;
  }
  const std::uint64_t id = made->id;
  worker_host::start_order order{id, method_, made->channel->take_worker_ends(), {}};
  if (options_.capture_stderr) {
    const auto all = static_cast<std::size_t>(options_.workers);
    order.capture_stderr_and_leave_for = all - std::min(ring_.size(), all);
  }
  ring_.push_back(made.get());
  workers_.emplace(id, std::move(made));
  set_timer(later(core_.host().now(), options_.start_timeout), timer::start_limit, {id, 0});
  core_.host().launch(std::move(order));
}

void supervisor::kill_worker(worker_record& worker, std::string note) {
  if (worker.kill_note.empty()) {
    worker.kill_note = std::move(note);
  }
  if (!worker.leaving) {
    worker.leaving = true;
    unbind(worker);
    ++killed_;
    take_back(worker);
    count_ready();
  }
  core_.host().signal(worker.id, SIGKILL);
}

void supervisor::settle_after_death(worker_record& worker, const exit_notice& notice, bool counts) {
  // What it published before its end counts, and then the claim word says exactly what it had
  // begun.
  worker.leaving = true;
  service(worker);
  orphan(worker);
  unbind(worker);
  take_back(worker);
  if (counts && worker.ended_for == 0) {
    // Before anybody hears of it.
    ++stats_.deaths;
    // A task that may be tried again answers for its own attempts: it is bounded by their number.
    if (worker.sent.empty() ||
        std::any_of(worker.sent.begin(), worker.sent.end(), [](const sent_range& sent) {
          return sent.what.work && sent.what.work->options().retries == 0;
        })) {
      history_.record_death(core_.host().now());
    }
  }
  while (!worker.sent.empty()) {
    sent_range sent = std::move(worker.sent.front());
    worker.sent.pop_front();
    if (worker.ended_for != 0 && !worker.stop_reasons.contains(sent.number + sent.done)) {
      ++sent.what.forgiven;  // a neighbour had to be ended
    }
    for (std::uint32_t done = sent.done; done < sent.what.count; ++done) {
      const std::uint32_t item = sent.what.first + done;
      --worker.outstanding;
      --outstanding_;
      failure loss = loss_of(worker, sent, item, notice);
      if (loss.code == errc::worker_lost) {
        loss.attempts = {end_of_attempt(loss)};
      }
      conclude(sent.what, item, std::make_shared<const failure>(std::move(loss)));
    }
  }
  dispatch_due_ = true;
}

void supervisor::on_exit(std::uint64_t id, const exit_notice& notice) {
  worker_record* const worker = find(id);
  if (worker == nullptr) {
    return;
  }
  if (worker->pid == 0) {
    worker->pid = notice.pid;
  }
  const worker_phase phase = worker->phase;
  const bool counts = phase != worker_phase::stopping && phase != worker_phase::starting &&
                      state_ != state::broken && state_ != state::terminating;
  settle_after_death(*worker, notice, counts);
  const std::shared_ptr<const failure> start_failure = worker->start_failure;
  const std::string note = worker->kill_note;
  const bool surplus = worker->retiring_for == retirement::surplus;
  const bool recycled =
      !surplus && (worker->retiring_for != retirement::none || worker->assigned >= task_limit());
  const std::int64_t pid = worker->pid;
  auto crash = worker->channel->crash();
  const bool ended_for_task = worker->ended_for != 0;
  forget_worker(id);
  if (phase == worker_phase::stopping) {
    stats_.recycled += recycled ? 1 : 0;
    stats_.retired += surplus ? 1 : 0;
  } else if (state_ == state::broken || state_ == state::terminating) {
    // On its way out with the pool.
  } else if (phase == worker_phase::starting) {
    const auto why = start_failure ? start_failure : end_of_start(pid, notice, std::move(crash));
    failed_start(why, false);
  } else if (!ended_for_task) {
    const auto now = core_.host().now();
    log(log_level::info, "worker " + std::to_string(id) + " (pid " + std::to_string(pid) + ") of " +
                             core_.title() + " died" + (note.empty() ? "" : ": " + note));
    if (decide(options_.restart, history_, now).give_up) {
      break_pool(std::to_string(options_.restart.intensity + 1) + " workers died within " +
                 std::to_string(options_.restart.period.count()) +
                 " ms (see pool_options::restart); the last one was pid " + std::to_string(pid));
    }
  }
  maintain();
  retire_drained();
}

void supervisor::on_start_failed(std::uint64_t id, int code) {
  worker_record* const worker = find(id);
  if (worker == nullptr) {
    return;
  }
  const bool unwanted = worker->phase == worker_phase::stopping;
  const bool surplus = worker->retiring_for == retirement::surplus;
  forget_worker(id);
  if (unwanted) {
    // Killed before it was forked: not needed any more, which is no failure.
    stats_.retired += surplus ? 1 : 0;
    maintain();
    retire_drained();
    return;
  }
  failed_start(
      plain_failure(errc::spawn_failed, task_ran::no,
                    "cannot start a worker of " + core_.title() + ": " + shortage_text(code)),
      is_transient(code));
}

void supervisor::failed_start(std::shared_ptr<const failure> why, bool transient) {
  if (state_ == state::starting) {
    abandon_start(std::move(why));
    return;
  }
  if (state_ != state::open && state_ != state::closing) {
    return;
  }
  const auto now = core_.host().now();
  restart_decision decision;
  if (transient) {
    // The system is short of something: that passes, and tasks wait meanwhile.
    const int doublings = std::min(starts_refused_++, 20);
    decision.delay =
        std::min(options_.restart.max_backoff, options_.restart.backoff * (1 << doublings));
    if (parents_ > 0 && starts_refused_ > refusals_borne) {
      stranded_for_ = why;
      dispatch_due_ = true;
    }
  } else {
    history_.record_failed_start();
    decision = decide(options_.restart, history_, now);
  }
  log(log_level::warning, why->text);
  if (decision.give_up) {
    break_pool("a replacement could not be started " + std::to_string(history_.failed_starts()) +
               " times in a row: " + why->text);
    return;
  }
  if (!relaunch_at_) {
    relaunch_at_ = now + decision.delay;
    set_timer(*relaunch_at_, timer::relaunch);
  }
}

void supervisor::forget_worker(std::uint64_t id) {
  worker_record* const worker = find(id);
  core_.host().unwatch(worker->channel->socket());
  core_.host().dismiss(id);
  unbind(*worker);
  std::erase(ring_, worker);
  cursor_ = 0;
  workers_.erase(id);
  count_ready();
}

void supervisor::stop_worker(worker_record& worker) {
  worker.phase = worker_phase::stopping;
  unbind(worker);
  // Nothing is outstanding, so the ring has room.
  if (worker.channel->begin_frame(0) != nullptr) {
    worker.channel->publish({0, frame_kind::stop, 0, 0});
    worker.channel->ring_bell();
    set_timer(later(core_.host().now(), options_.grace), timer::worker_grace, {worker.id, 0});
  } else {
    kill_worker(worker, "it could not be told to stop");
  }
}

void supervisor::stop_workers() {
  for (const auto& [id, worker] : workers_) {
    if (worker->phase == worker_phase::starting) {
      worker->phase = worker_phase::stopping;
      kill_worker(*worker, "it is not needed any more");
    } else if (worker->phase != worker_phase::stopping) {
      stop_worker(*worker);
    }
  }
}

}  // namespace troupe::detail
