// SPDX-License-Identifier: BSD-3-Clause
#include "pools/process/pool_core_impl.hpp"

#include "troupe/log.hpp"

#include "host/runtime.hpp"
#include "os/library_thread.hpp"
#include "os/spin.hpp"
#include "pools/option_checks.hpp"

#include <chrono>
#include <stdexcept>
#include <utility>

namespace troupe::detail {

pool_core::pool_core(std::shared_ptr<pool_host> host, const pool_options& options)
    : host_{std::move(host)},
      options_{options},
      task_defaults_{share_options(options.task_defaults)},
      supervisor_{host_->actors(), std::make_unique<supervisor>(*this)},
      callbacks_{std::make_shared<callback_runner>(host_->callbacks())},
      predicates_{std::make_shared<callback_runner>(host_->callbacks())},
      admission_{options.max_queued},
      most_workers_{options.max_workers.value_or(options.workers)} {}

pool_core::~pool_core() {
  if (no_user_code::is_here() && options_.task_defaults.retry_if) {
    try {
      callbacks_->run([one = std::exchange(task_defaults_, {}),
                       other = std::exchange(options_.task_defaults.retry_if, {})] {});
    } catch (const error&) {  // NOLINT(bugprone-empty-catch): no thread: it is destroyed here
    }
  }
  retire();
}

void pool_core::tell(supervisor_message what) {
  const no_user_code others_wait_for_the_supervisor;
  supervisor_.send(std::move(what));
}

void pool_core::started(std::uint64_t worker, std::int64_t pid, descriptor /*pidfd*/) {
  tell(worker_started{worker, pid});
}
void pool_core::start_failed(std::uint64_t worker, int code) {
  tell(detail::start_failed{worker, code});
}
void pool_core::ended(std::uint64_t worker, const exit_notice& notice) {
  tell(worker_exited{worker, notice});
}

bool pool_core::ask(std::function<void(supervisor&)> answer) {
  if (retired_ || !maker_.is_here()) {
    return false;
  }
  // The message's handler uses the question only while this thread waits; its last access is to
  // `answered`.
  question asked{std::move(answer)};
  tell(ask_supervisor{asked});
  // Mostly this thread itself has run the supervisor and has the answer.
  std::uint32_t now = question::no;
  if (asked.answered.compare_exchange_strong(now, question::waited_for,
                                             std::memory_order_acq_rel)) {
    do {
      futex_wait(asked.answered, question::waited_for, std::nullopt);
      now = asked.answered.load(std::memory_order_acquire);
    } while (now == question::waited_for);
  }
  return now == question::yes;
}

void pool_core::begin() {
  ask([](supervisor& s) { s.start(); });
}

void pool_core::start() {
  begin();
  for (;;) {
    const std::uint32_t started = started_.load();
    if (started != 0 || finished_.load() != 0) {
      break;
    }
    futex_wait(started_, started, std::nullopt);
  }
  if (finished_.load() != 0) {
    std::shared_ptr<const failure> why;
    ask([&why](supervisor& s) { why = s.start_failure(); });
    retire();
    if (why) {
      rethrow(*why);
    }
    throw pool_closed{title() + " could not be started"};
  }
}

void pool_core::note_started() {
  started_ = 1;
  futex_wake_all(started_);
}

void pool_core::note_finished() {
  if (!counted_out_.exchange(true)) {
    host_->pool_ended();
  }
  if (finished_.exchange(1) == 0) {
    futex_wake_all(finished_);
    // The constructor may be waiting for a start that does not happen any more.
    started_.fetch_add(1);
    futex_wake_all(started_);
  }
}

std::shared_ptr<room_turn> pool_core::make_turn() {
  return std::make_shared<room_turn>(
      shared_from_this(), admission_.line(), [this] { return admission_.has_room(); },
      callback_executor());
}

std::shared_ptr<process_submission> pool_core::submit(submission_builder&& encoded,
                                                      const options_ptr& how,
                                                      std::shared_ptr<submission_group> group,
                                                      std::uint32_t max_range, bool may_block,
                                                      const deadline& until) {
  maker_.check_is_here();
  if (how->retries > 0 && how->retry_if) {
    predicates_->run(nullptr);  // the thread that asks the predicate
  }
  if (!admission_.enter(static_cast<std::uint32_t>(encoded.count()), may_block, until)) {
    return nullptr;
  }
  auto made = std::make_shared<process_submission>(shared_from_this(), how, std::move(encoded));
  made->max_range = max_range;
  made->group = std::move(group);
  tell(run_task{made});
  if (retired_) {
    fail_stranded(*made);
  }
  return made;
}

void pool_core::close() {
  ask([](supervisor& s) { s.close(); });
}

void pool_core::terminate() {
  ask([](supervisor& s) { s.terminate(); });
}

void pool_core::kill() {
  ask([](supervisor& s) { s.kill(); });
}

void pool_core::cancel_waiting() {
  ask([](supervisor& s) { s.cancel_waiting(); });
}

void pool_core::ask_all_to_stop() {
  ask([](supervisor& s) { s.ask_all_to_stop(); });
}

std::uint64_t pool_core::processes() {
  std::uint64_t count = 0;
  ask([&](supervisor& s) { count = s.processes(); });
  return count;
}

std::uint64_t pool_core::killed() {
  std::uint64_t count = 0;
  ask([&](supervisor& s) { count = s.killed(); });
  return count;
}

void pool_core::join() {
  if (!admission_.refuses()) {
    throw std::logic_error{"troupe: " + title() +
                           ": join() before close() or terminate() would wait for ever"};
  }
  join_until(std::nullopt);
}

bool pool_core::join_until(const deadline& until) {
  while (finished_.load() == 0) {
    if (!futex_wait(finished_, 0, until) && finished_.load() == 0) {
      return false;
    }
  }
  finish_callbacks();
  return true;
}

void pool_core::end() noexcept {
  if (!host_->can_wait()) {
    // A forked child runs its parent's destructors, or exit() runs on the reactor's thread: nothing
    // is destroyed until the process has ended.
    keep_for_ever(shared_from_this());
    return;
  }
  try {
    if (finished_.load() == 0) {
      std::uint64_t dropped = 0;
      ask([&dropped](supervisor& s) {
        dropped = s.not_begun();
        s.terminate();
      });
      warn_of_dropped(*this, dropped);
      while (finished_.load() == 0) {
        futex_wait(finished_, 0, std::nullopt);
      }
    }
    finish_callbacks();
  } catch (const std::exception& problem) {
    log(log_level::error, title() + " could not be ended in order: " + problem.what());
  }
}

void pool_core::finish_callbacks() {
  for (const auto& runner : {predicates_, callbacks_}) {
    runner->wait_idle();
    runner->retire();  // futures that are kept do not keep its thread
  }
  wait_for_log();
}

bool pool_core::cancel(process_submission& which, bool force) {
  bool certain = false;
  ask([&](supervisor& s) { certain = s.cancel(which, force); });
  return certain;
}

void pool_core::cancel_group(const std::shared_ptr<submission_group>& group) {
  ask([&](supervisor& s) { s.cancel_group(group); });
}

bool pool_core::is_running(const process_submission& which) {
  bool running = false;
  ask([&](supervisor& s) { running = s.is_running(which); });
  return running;
}

bool pool_core::spin_for_outcome(const process_submission& which) {
  constexpr double short_task_ns = 10'000;
  if (mean_task_ns_.load(std::memory_order_relaxed) > short_task_ns || counts_.running > 1 ||
      counts_.queued > 0 || !spinning_helps()) {
    return false;
  }
  const spin_watch watch;
  do {
    tell(look_for_results{});
    if (which.done()) {
      return true;
    }
    spin_watch::pause();
  } while (watch.worth_going_on());
  return which.done();
}

future_state::executor pool_core::callback_executor() {
  return [self = std::static_pointer_cast<pool_core>(shared_from_this())](
             std::function<void()> function) { self->callbacks_->run(std::move(function)); };
}

future_state::executor pool_core::predicate_executor() {
  return [self = std::static_pointer_cast<pool_core>(shared_from_this())](
             std::function<void()> function) { self->predicates_->run(std::move(function)); };
}

std::vector<worker_info> pool_core::workers() {
  std::vector<worker_info> found;
  ask([&](supervisor& s) { found = s.workers(); });
  return found;
}

void pool_core::resize(int workers) {
  check_between("troupe::pool::resize", "workers", workers, max_workers_of_a_pool);
  admission_.check();
  ask([workers](supervisor& s) { s.resize(workers); });
}

pool_stats pool_core::stats() {
  return {counts_.submitted, counts_.queued + counts_.pending_retries,
          counts_.running,   counts_.succeeded,
          counts_.failed,    counts_.cancelled,
          counts_.retried,   counts_.workers,
          counts_.deaths,    counts_.recycled,
          counts_.retired};
}

child_status pool_core::seen() const {
  child_status status;
  status.name = options_.name;
  status.kind = "pool";
  status.phase = finished_.load() != 0  ? child_phase::stopped
                 : admission_.refuses() ? child_phase::stopping
                 : started_.load() != 0 ? child_phase::running
                                        : child_phase::starting;
  return status;
}

void pool_core::retire() noexcept {
  if (retired_.exchange(true)) {
    return;
  }
  callbacks_->stop();
  predicates_->stop();
  const bool in_a_turn = no_user_code::is_here();
  const no_user_code others_wait_for_the_supervisor;
  supervisor_.close();
  if (!in_a_turn) {
    supervisor_.shut();
  }
}

void pool_core::fail_stranded(process_submission& submitted) noexcept {
  if (!submitted.take()) {
    return;
  }
  // The submission raced with the end of the pool: its message was dropped, but its future must
  // have an outcome.
  const std::shared_ptr<const failure> why =
      plain_failure(errc::pool_closed, task_ran::no, title() + " has ended");
  for (std::uint32_t item = 0; item < submitted.count; ++item) {
    submitted.store_failure(item, why);
  }
  submitted.finish_if_complete();
}

}  // namespace troupe::detail
