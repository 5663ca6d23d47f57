// SPDX-License-Identifier: BSD-3-Clause
#include "pool_core_impl.hpp"

#include "troupe/detail/spin.hpp"
#include "troupe/log.hpp"

#include "supervisor_actor.hpp"

#include <chrono>
#include <stdexcept>
#include <utility>

namespace troupe::detail {

// ---- callbacks ---------------------------------------------------------------------------------

/// Has a thread of its own, so that a callback may block without holding up anybody's results.
class callback_actor final : public caf::event_based_actor {
 public:
  callback_actor(caf::actor_config& config, std::shared_ptr<callback_runner> runner)
      : caf::event_based_actor{config}, runner_{std::move(runner)} {}
  caf::behavior make_behavior() override {
    return {[this](std::uint32_t kind, std::uint64_t, const std::string&) {
      if (kind == 0) {
        quit();
      } else {
        runner_->run_queued();
      }
    }};
  }

 private:
  std::shared_ptr<callback_runner> runner_;
};

void callback_runner::run(std::function<void()> function) {
  caf::actor to;
  {
    const std::lock_guard lock{mutex_};
    if (stopped_) {
      return;  // the program is ending: nobody is left to tell
    }
    if (!actor_) {
      actor_ = system_.spawn<callback_actor, caf::detached>(shared_from_this());
    }
    unfinished_.fetch_add(1);
    queue_.push_back(std::move(function));
    if (queue_.size() > 1) {
      return;  // a message is on its way that will find this one too
    }
    to = actor_;
  }
  compat::send(to, std::uint32_t{1}, std::uint64_t{0}, std::string{});
}

void callback_runner::run_queued() {
  for (;;) {
    std::vector<std::function<void()>> todo;
    {
      const std::lock_guard lock{mutex_};
      thread_ = std::this_thread::get_id();
      todo.swap(queue_);
    }
    if (todo.empty()) {
      return;
    }
    for (auto& function : todo) {
      function();
      function = nullptr;
      if (unfinished_.fetch_sub(1) == 1) {
        futex_wake_all(unfinished_);
      }
    }
  }
}

void callback_runner::wait_idle() {
  {
    const std::lock_guard lock{mutex_};
    if (thread_ == std::this_thread::get_id()) {
      return;
    }
  }
  for (std::uint32_t left = unfinished_.load(); left != 0; left = unfinished_.load()) {
    futex_wait(unfinished_, left, std::nullopt);
  }
}

void callback_runner::stop() {
  caf::actor to;
  {
    const std::lock_guard lock{mutex_};
    stopped_ = true;
    to = std::exchange(actor_, {});
  }
  if (to) {
    compat::send(to, std::uint32_t{0}, std::uint64_t{0}, std::string{});
  }
}

// ---- the pool ----------------------------------------------------------------------------------

pool_core::pool_core(std::shared_ptr<engine> owner, const pool_options& options)
    : engine_{std::move(owner)},
      options_{options},
      task_defaults_{share_options(options.task_defaults)},
      supervisor_{spawn_supervisor(engine_->actors(), *this)},
      callbacks_{std::make_shared<callback_runner>(engine_->actors())},
      most_workers_{options.max_workers.value_or(options.workers)} {}

pool_core::~pool_core() {
  retire();
}

void pool_core::tell(supervisor_message kind, std::uint64_t number, std::string bytes) {
  compat::run_loop& loop = thread_loop(engine_->actors());
  compat::deliver(supervisor_,
                  compat::make_message(static_cast<std::uint32_t>(kind), number, std::move(bytes)),
                  loop);
  loop.run();
}

bool pool_core::ask(std::function<void(supervisor&)> answer) {
  if (retired_) {
    return false;
  }
  // Shared with the message's handler only while this waits; the handler touches it last in
  // `answered`.
  question asked{std::move(answer)};
  tell(supervisor_message::ask, reinterpret_cast<std::uintptr_t>(&asked));
  while (asked.answered.load(std::memory_order_acquire) == 0) {
    futex_wait(asked.answered, 0, std::nullopt);
  }
  return true;
}

void pool_core::start() {
  ask([](supervisor& s) { s.start(); });
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
    engine_->pool_ended();
  }
  if (finished_.exchange(1) == 0) {
    futex_wake_all(finished_);
    // The constructor may be waiting for a start that will not come.
    started_.fetch_add(1);
    futex_wake_all(started_);
  }
}

void pool_core::refuse_because(errc code, std::string text) {
  {
    const std::lock_guard lock{mutex_};
    refusal_ = code;
    refusal_text_ = std::move(text);
  }
  refusing_ = true;
  queue_moved_.fetch_add(1);
  futex_wake_all(queue_moved_);
  call_next(UINT64_MAX);
}

void pool_core::check_accepting() {
  if (!refusing_.load(std::memory_order_acquire)) {
    return;
  }
  const std::lock_guard lock{mutex_};
  if (refusal_ == errc::pool_broken) {
    throw pool_broken{refusal_text_};
  }
  throw pool_closed{refusal_text_};
}

void pool_core::note_requeued(std::uint64_t tasks) {
  if (options_.max_queued != 0) {
    queued_.fetch_add(tasks);
  }
}

void pool_core::note_dequeued(std::uint64_t tasks) {
  if (options_.max_queued == 0) {
    return;
  }
  queued_.fetch_sub(tasks);
  if (blocked_submitters_.load() != 0) {
    queue_moved_.fetch_add(1);
    futex_wake_all(queue_moved_);
  }
  if (standing_.load() != 0) {
    call_next(tasks);
  }
}

void pool_core::stand_in_line(room_turn& turn, std::function<void()> notify) {
  {
    const std::lock_guard lock{line_mutex_};
    turn.notify_ = std::move(notify);
    turn.state_ = room_turn::state::in_line;
    if (turn.called_before_) {
      line_.push_front(&turn);
    } else {
      line_.push_back(&turn);
    }
    standing_ = line_.size();
  }
  // What left the queue before this stood there called nobody.
  if (queued_.load() < options_.max_queued || refusing_) {
    call_next(1);
  }
}

void pool_core::leave_line(room_turn& turn, bool got_in) noexcept {
  bool pass_on = false;
  std::function<void()> dropped;  // may own what must not be destroyed under the lock
  {
    const std::lock_guard lock{line_mutex_};
    pass_on = turn.state_ == room_turn::state::called && !got_in;
    if (turn.state_ == room_turn::state::in_line) {
      std::erase(line_, &turn);
      standing_ = line_.size();
    }
    turn.state_ = room_turn::state::out;
    dropped = std::move(turn.notify_);
  }
  if (pass_on) {
    call_next(1);
  }
}

void pool_core::call_next(std::uint64_t turns) noexcept {
  for (; turns > 0; --turns) {
    std::function<void()> notify;
    {
      const std::lock_guard lock{line_mutex_};
      if (line_.empty()) {
        return;
      }
      room_turn& next = *line_.front();
      line_.pop_front();
      standing_ = line_.size();
      next.state_ = room_turn::state::called;
      next.called_before_ = true;
      notify = std::exchange(next.notify_, nullptr);
    }
    notify();
  }
}

std::shared_ptr<job> pool_core::submit(job_builder&& encoded, const options_ptr& how,
                                       std::shared_ptr<job_group> group, std::uint32_t max_slice,
                                       bool may_block) {
  check_accepting();
  const auto count = static_cast<std::uint32_t>(encoded.count_);
  if (options_.max_queued != 0) {
    for (;;) {
      const std::uint32_t moved = queue_moved_.load();
      std::uint64_t now = queued_.load();
      // A submission larger than the bound passes when the queue is empty.
      if (now == 0 || now + count <= options_.max_queued) {
        if (queued_.compare_exchange_weak(now, now + count)) {
          break;
        }
        continue;
      }
      if (!may_block) {
        return nullptr;
      }
      blocked_submitters_.fetch_add(1);
      if (queued_.load() == now && !refusing_) {
        futex_wait(queue_moved_, moved, std::nullopt);
      }
      blocked_submitters_.fetch_sub(1);
      check_accepting();
    }
  }
  auto made = std::make_shared<job>(shared_from_this(), how, std::move(encoded.segments_));
  made->callable_bytes = static_cast<std::uint32_t>(encoded.callable_bytes_);
  made->count = count;
  made->max_slice = max_slice;
  made->group = std::move(group);
  tell(supervisor_message::run_task, jobs_.put(made),
       std::string{reinterpret_cast<const char*>(encoded.sink_->data()), encoded.sink_->size()});
  if (retired_) {
    fail_stranded();
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
  ask([](supervisor& s) { s.kill_all(); });
}

void pool_core::join() {
  if (!refusing_) {
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
  callbacks_->wait_idle();
  return true;
}

void pool_core::end() noexcept {
  try {
    if (finished_.load() == 0) {
      terminate();
      while (finished_.load() == 0) {
        futex_wait(finished_, 0, std::nullopt);
      }
    }
    callbacks_->wait_idle();
  } catch (const std::exception& problem) {
    log(log_level::error, title() + " could not be ended in order: " + problem.what());
  }
}

bool pool_core::cancel(job& which, bool force) {
  bool certain = false;
  ask([&](supervisor& s) { certain = s.cancel(which, force); });
  return certain;
}

void pool_core::cancel_group(const std::shared_ptr<job_group>& group) {
  ask([&](supervisor& s) { s.cancel_group(group); });
}

bool pool_core::is_running(const job& which) {
  bool running = false;
  ask([&](supervisor& s) { running = s.is_running(which); });
  return running;
}

bool pool_core::hurry(const job& which) {
  constexpr double short_task_ns = 10'000;
  if (mean_task_ns_.load(std::memory_order_relaxed) > short_task_ns || counts_.running > 1 ||
      counts_.queued > 0 || !spinning_helps()) {
    return false;
  }
  const spin_watch watch;
  do {
    tell(supervisor_message::look, 0);
    if (which.done()) {
      return true;
    }
    spin_watch::pause();
  } while (watch.worth_going_on());
  return which.done();
}

future_state::executor pool_core::callback_executor() {
  return [self = shared_from_this()](std::function<void()> function) {
    self->callbacks_->run(std::move(function));
  };
}

std::vector<worker_info> pool_core::workers() {
  std::vector<worker_info> found;
  ask([&](supervisor& s) { found = s.workers(); });
  return found;
}

void pool_core::resize(int workers) {
  check_accepting();
  ask([workers](supervisor& s) { s.resize(workers); });
}

pool_stats pool_core::stats() const {
  return {counts_.submitted, counts_.queued + counts_.parked,
          counts_.running,   counts_.succeeded,
          counts_.failed,    counts_.cancelled,
          counts_.retried,   counts_.workers,
          counts_.deaths,    counts_.recycled,
          counts_.retired};
}

void pool_core::retire() noexcept {
  if (retired_.exchange(true)) {
    return;
  }
  callbacks_->stop();
  // Kind 0: the actor destroys its supervisor and quits.
  compat::run_loop& loop = thread_loop(engine_->actors());
  compat::deliver(supervisor_,
                  compat::make_message(std::uint32_t{0}, std::uint64_t{0}, std::string{}), loop);
  loop.run();
  fail_stranded();
}

void pool_core::fail_stranded() noexcept {
  // A submission that raced with the end: its message went nowhere, its future must not.
  auto why = std::make_shared<failure>();
  why->code = errc::pool_closed;
  why->ran = task_ran::no;
  why->text = title() + " has ended";
  for (const auto& stranded : jobs_.take_all()) {
    stranded->prepare();
    for (std::uint32_t item = 0; item < stranded->count; ++item) {
      stranded->store_failure(item, why);
    }
    stranded->finish_if_complete();
  }
}

// ---- what the templates call -------------------------------------------------------------------

options_ptr share_options(const task_options& how) {
  constexpr std::size_t most_label_bytes = 200;
  const auto refuse = [](const std::string& text) {
    throw std::invalid_argument{"troupe: task options: " + text};
  };
  if (how.retries < 0) {
    refuse(".retries = " + std::to_string(how.retries) + " is negative");
  }
  if (how.timeout && how.timeout->count() <= 0) {
    refuse(".timeout = " + std::to_string(how.timeout->count()) +
           " ms is not positive (leave it out for no limit)");
  }
  if (how.grace && how.grace->count() < 0) {
    refuse(".grace = " + std::to_string(how.grace->count()) + " ms is negative");
  }
  if (how.deadline && how.deadline->count() <= 0) {
    refuse(".deadline = " + std::to_string(how.deadline->count()) +
           " ms is not positive (leave it out for no limit)");
  }
  if (how.backoff.count() < 0) {
    refuse(".backoff = " + std::to_string(how.backoff.count()) + " ms is negative");
  }
  if (how.label.size() > most_label_bytes) {
    refuse(".label has " + std::to_string(how.label.size()) + " bytes, the limit is " +
           std::to_string(most_label_bytes));
  }
  for (std::size_t i = 0; i < how.label.size(); ++i) {
    const auto c = static_cast<unsigned char>(how.label[i]);
    if (c < ' ' || c == 0x7F) {
      refuse(".label has a control character (" + std::to_string(c) + ") at byte " +
             std::to_string(i) + ": it is printed in error texts");
    }
  }
  return std::make_shared<const task_options>(how);
}

options_ptr share_thread_options(const task_options& how) {
  const auto refuse = [](const char* member) {
    throw std::invalid_argument{std::string{"troupe: task options: "} + member +
                                " is for tasks in processes; a thread pool does not have it"};
  };
  if (how.deadline) {
    refuse(".deadline");
  }
  if (how.retry_if) {
    refuse(".retry_if");
  }
  if (!how.affinity.empty()) {
    refuse(".affinity");
  }
  return share_options(how);
}

namespace {
constexpr int most_workers = 4096;
constexpr int most_concurrency = 65'536;
}  // namespace

pool_ptr make_pool(const pool_options& options) {
  const auto refuse = [](const std::string& text) {
    throw std::invalid_argument{"troupe::pool: " + text};
  };
  if (options.workers < 1 || options.workers > most_workers) {
    refuse(".workers = " + std::to_string(options.workers) + " is not between 1 and " +
           std::to_string(most_workers) + " (leave it out for usable_cpus())");
  }
  if (options.concurrency < 1 || options.concurrency > most_concurrency) {
    refuse(".concurrency = " + std::to_string(options.concurrency) + " is not between 1 and " +
           std::to_string(most_concurrency));
  }
  if (options.max_tasks_per_worker && *options.max_tasks_per_worker < 1) {
    refuse(".max_tasks_per_worker = " + std::to_string(*options.max_tasks_per_worker) +
           " is less than 1 (leave it out for no limit)");
  }
  if (options.min_workers || options.max_workers) {
    const int most = options.max_workers.value_or(options.workers);
    const int least = options.min_workers.value_or(1);
    if (least < 1 || most > most_workers || least > most) {
      refuse(".min_workers = " + std::to_string(least) + " and .max_workers = " +
             std::to_string(most) + " are not 1 <= min <= max <= " + std::to_string(most_workers));
    }
  }
  if (options.idle_timeout.count() < 0) {
    refuse(".idle_timeout = " + std::to_string(options.idle_timeout.count()) + " ms is negative");
  }
  if (options.max_worker_age && options.max_worker_age->count() <= 0) {
    refuse(".max_worker_age = " + std::to_string(options.max_worker_age->count()) +
           " ms is not positive (leave it out for no limit)");
  }
  if (options.max_worker_rss && *options.max_worker_rss == 0) {
    refuse(".max_worker_rss = 0 lets no worker live (leave it out for no limit)");
  }
  if (options.grace.count() < 0 || options.start_timeout.count() <= 0) {
    refuse(".grace must not be negative and .start_timeout must be positive");
  }
  if (options.restart.intensity < 0 || options.restart.period.count() <= 0 ||
      options.restart.start_attempts < 1 || options.restart.backoff.count() < 0 ||
      options.restart.max_backoff.count() < 0) {
    refuse(
        ".restart needs an intensity of 0 or more, a positive period, at least 1 start "
        "attempt, and a .backoff and .max_backoff that are not negative");
  }
  if (options.max_payload_bytes == 0) {
    refuse(".max_payload_bytes = 0 lets no task through");
  }
  auto owner = engine::current();
  auto core = std::make_shared<pool_core>(owner, options);
  owner->add(core);
  core->start();
  return core;
}

std::shared_ptr<future_state> submit(const pool_ptr& pool, job_builder&& job,
                                     const options_ptr& options) {
  return pool->submit(std::move(job), options, nullptr, 0, true);
}

std::shared_ptr<future_state> try_submit(const pool_ptr& pool, job_builder&& job,
                                         const options_ptr& options) {
  return pool->submit(std::move(job), options, nullptr, 0, false);
}

std::shared_ptr<room_turn> make_turn(const pool_ptr& pool) {
  return std::make_shared<room_turn>(pool);
}
void wait_turn(const std::shared_ptr<room_turn>& turn, std::function<void()> notify) {
  const pool_ptr pool = turn->pool_;  // the turn may be over before this returns
  pool->stand_in_line(*turn, std::move(notify));
}
void wait_turn_on_callbacks(const std::shared_ptr<room_turn>& turn, std::function<void()> notify) {
  wait_turn(turn, [run = turn->pool_->callback_executor(), notify = std::move(notify)]() mutable {
    run(std::move(notify));
  });
}
void took_turn(room_turn& turn) noexcept {
  turn.pool_->leave_line(turn, true);
}
void leave_turn(room_turn& turn) noexcept {
  turn.pool_->leave_line(turn, false);
}

void close(const pool_ptr& pool) {
  pool->close();
}
void join(const pool_ptr& pool) {
  pool->join();
}
void terminate(const pool_ptr& pool) {
  pool->terminate();
}
void end_pool(const pool_ptr& pool) noexcept {
  if (pool) {
    pool->end();
  }
}
void resize(const pool_ptr& pool, int workers) {
  if (workers < 1 || workers > most_workers) {
    throw std::invalid_argument{"troupe::pool::resize: " + std::to_string(workers) +
                                " is not between 1 and " + std::to_string(most_workers)};
  }
  pool->resize(workers);
}
const options_ptr& defaults_of(const pool_ptr& pool) {
  return pool->task_defaults();
}
std::vector<worker_info> workers_of(const pool_ptr& pool) {
  return pool->workers();
}
pool_stats stats_of(const pool_ptr& pool) {
  return pool->stats();
}

// ---- encoding a submission ---------------------------------------------------------------------

namespace {
/// Kept from one submission of this thread to the next, so that most allocate nothing to encode.
thread_local std::unique_ptr<job_sink> spare_sink;
}  // namespace

static_assert(job_sink::part_in_segment == in_segment);

job_builder::job_builder(const pool_ptr& pool)
    : pool_{pool.get()}, sink_{spare_sink ? std::move(spare_sink) : std::make_unique<job_sink>()} {
  sink_->begin(pool->owner().segments(), pool->options().max_payload_bytes);
}
job_builder::~job_builder() {
  if (sink_ && sink_->capacity() <= 4 * max_frame_bytes) {
    sink_->begin(nullptr, 0);
    spare_sink = std::move(sink_);
  }
}
job_builder::job_builder(job_builder&&) noexcept = default;

void job_builder::part(encode_ref encode, const char* what) {
  try {
    sink_->begin_part(what);
    encode(*sink_);
    std::size_t bytes = 0;
    if (auto segment = sink_->end_part(bytes)) {
      const segment_reference where{segment->id(), bytes, 0};
      segments_.push_back(std::move(segment));
      sink_->append(&where, sizeof where);
    }
  } catch (const error&) {
    sink_->abandon_part();
    throw;
  } catch (const std::exception& problem) {
    sink_->abandon_part();
    std::throw_with_nested(
        error{errc::argument_encode_failed, task_ran::no,
              std::string{"troupe: "} + what + " could not be encoded: " + problem.what()});
  } catch (...) {
    sink_->abandon_part();
    std::throw_with_nested(error{errc::argument_encode_failed, task_ran::no,
                                 std::string{"troupe: "} + what + " could not be encoded"});
  }
}

std::size_t job_builder::bytes() const noexcept {
  return sink_->size();
}

void job_builder::callable(encode_ref encode) {
  part(encode, "the callable");
  callable_bytes_ = sink_->size();
}

void job_builder::item(encode_ref encode) {
  part(encode, "the arguments");
  ++count_;
}

void job_builder::same_callable(const job_builder& other) {
  sink_->append(other.sink_->data(), other.callable_bytes_);
  callable_bytes_ = other.callable_bytes_;
  segments_ = other.segments_;
}

}  // namespace troupe::detail
