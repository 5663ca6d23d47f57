// SPDX-License-Identifier: BSD-3-Clause

// The worker process: its main thread reads task frames from the ring, sends them to the worker
// actor, and runs that actor right there. Tasks that are coroutines take turns on the same thread.

#include "worker_actor.hpp"

#include "troupe/callable.hpp"
#include "troupe/codec.hpp"
#include "troupe/detail/failpoint.hpp"
#include "troupe/detail/futex.hpp"
#include "troupe/detail/segment.hpp"
#include "troupe/detail/throw_trace.hpp"
#include "troupe/own_pool.hpp"
#include "troupe/this_process.hpp"
#include "troupe/this_task.hpp"

#include "caf.hpp"
#include "coroutine_loop.hpp"
#include "current_task.hpp"
#include "engine.hpp"
#include "messages.hpp"
#include "nested.hpp"
#include "process_core.hpp"
#include "thread_core_impl.hpp"

#include <malloc.h>
#include <signal.h>
#include <stdio_ext.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <deque>
#include <iostream>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>

namespace troupe::detail {

/// Turns stop requests of the supervisor into a stop_token; its thread starts when somebody asks
/// for the first token.
class stop_watcher {
 public:
  explicit stop_watcher(const worker_channel& channel) : channel_{channel} {}

  std::stop_token token(std::uint64_t number) {
    const std::lock_guard lock{mutex_};
    if (number != number_) {
      number_ = number;
      source_ = std::stop_source{};
    }
    if (!started_) {
      started_ = true;
      sigset_t all;
      sigset_t old;
      sigfillset(&all);
      pthread_sigmask(SIG_SETMASK, &all, &old);
      std::thread{[this] { watch(); }}.detach();
      pthread_sigmask(SIG_SETMASK, &old, nullptr);
    }
    if (channel_.stop_requested_for() == number) {
      source_.request_stop();
    }
    return source_.get_token();
  }

 private:
  void watch() {
    for (;;) {
      const std::uint32_t seen = channel_.stop_word().load();
      std::stop_source wanted{std::nostopstate};
      {
        const std::lock_guard lock{mutex_};
        if (number_ != 0 && channel_.stop_requested_for() == number_) {
          wanted = source_;
        }
      }
      wanted.request_stop();  // may run the task's stop callbacks: not under the lock
      futex_wait(channel_.stop_word(), seen, std::nullopt, true);
    }
  }

  const worker_channel& channel_;
  std::mutex mutex_;
  std::uint64_t number_ = 0;  // guarded by mutex_
  std::stop_source source_;   // guarded by mutex_
  bool started_ = false;      // guarded by mutex_
};

current_task current;

namespace {

constexpr std::size_t bytes_per_message = 64 * 1024;
constexpr std::size_t max_idle_result_bytes = std::size_t{256} << 20;
/// A task shorter than this is not timed by itself, only with its neighbours.
constexpr std::int64_t worth_timing_ns = 2'000;

std::int64_t now_ns() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

std::string host_name() {
  char name[256] = {};
  return ::gethostname(name, sizeof name - 1) == 0 ? name : "";
}

/// The tasks of one frame, while they are run one after the other.
struct task_batch {
  frame_header frame;
  run_header header;
  std::span<const std::byte> payload;  ///< what is left of it
  std::string copy;                    ///< of the payload, once it has to wait
  std::span<const std::byte> state;
  std::shared_ptr<const mapping> callable_view;
  cargo_list cargo;                   ///< what its callable and its tasks refer to
  std::shared_ptr<erased_task> task;  ///< coroutines keep it, too
  std::exception_ptr no_callable;
  bool decoded = false;
  std::uint32_t next = 0;
  std::uint64_t timed_items = 0;
  std::int64_t begun = 0;
};

class worker;
worker* reporter = nullptr;

class worker {
 public:
  explicit worker(worker_channel& channel)
      : channel_{channel},
        watcher_{channel},
        segments_{std::make_shared<segment_pool>(max_idle_result_bytes)},
        result_{segments_, UINT64_MAX, "the bytes of the result"},
        nested_{channel, segments_} {
    current.watcher = &watcher_;
    reporter = this;
  }

  void run_frames(std::span<const std::byte> frames) {
    while (!stopping_ && !orphaned_) {
      frame_header header;
      if (!take_front(frames, header)) {
        return;
      }
      const auto payload = frames.first(header.bytes);
      frames = frames.subspan(std::min<std::size_t>(frames.size(), (header.bytes + 7) / 8 * 8));
      switch (header.kind) {
        case frame_kind::configure:
          configure(header, payload);
          break;
        case frame_kind::tasks:
          run_tasks(header, payload);
          break;
        case frame_kind::stop_task:
          if (coroutines_) {
            coroutines_->stop(header.number);
          }
          break;
        default:
          stopping_ = true;
          break;
      }
    }
  }

  void report(std::uint64_t done, std::uint64_t total, std::string_view text) {
    constexpr std::int64_t interval_ns = 20'000'000;
    const std::int64_t now = now_ns();
    const bool complete = total != 0 && done >= total;
    if (reported_for_ == current.number && now - reported_at_ns_ < interval_ns && !complete) {
      return;
    }
    reported_for_ = current.number;
    reported_at_ns_ = now;
    const progress_header header{done, total};
    text = text.substr(0, max_progress_text);
    push(frame_kind::progress, 0, current.number, std::as_bytes(std::span{&header, 1}),
         std::as_bytes(std::span{text.data(), text.size()}));
    channel_.ring_bell();
  }

  [[nodiscard]] nested_calls& nested() noexcept { return nested_; }

  [[nodiscard]] bool stopping() const { return stopping_ || orphaned_; }

  /// Goes on with tasks that had to wait for others to end, one message of them. True: some could.
  bool run_held() {
    if (held_.empty() || !may_begin()) {
      return false;
    }
    if (run_batch(held_.front())) {
      held_.pop_front();
    }
    coroutines_->run_ready();
    return true;
  }

  /// Sleeps until there may be frames, or a coroutine can go on, which it then does. False: the
  /// supervisor is gone.
  bool sleep() {
    if (unrung_) {
      unrung_ = false;
      channel_.ring_bell();
    }
    if (!coroutines_ || !coroutines_->has_work()) {
      return channel_.wait_for_frames();
    }
    if (!channel_.prepare_to_sleep()) {
      return true;
    }
    return !coroutines_->wait() || channel_.read_bells();
  }

 private:
  [[nodiscard]] bool may_begin() const {
    return !coroutines_ || coroutines_->active() < concurrency_;
  }

  void configure(const frame_header& frame, std::span<const std::byte> payload) {
    configure_header header;
    take_front(payload, header);
    result_.limit(header.max_result_bytes);
    nested_.limit(header.max_result_bytes);
    concurrency_ = header.concurrency;
    engine::set_depth(header.depth);
    adopt_start_method(header.start);
    try {
      TROUPE_FAILPOINT("worker.initializer");
      if (!payload.empty()) {
        const cargo_list cargo = cargo_of(frame);
        const cargo_unloading scope{cargo};
        decode<bound_call>(payload)();
      }
    } catch (...) {
      failure why = capture_failure(std::current_exception());
      sign(why);
      why.stage = "initializer";
      byte_buffer bytes;
      encode(bytes, why);
      push(frame_kind::init_failed, 0, 0, {}, bytes.bytes());
      channel_.ring_bell();
      stopping_ = true;
      return;
    }
    push(frame_kind::ready, 0, 0, {}, {});
    channel_.ring_bell();
  }

  [[nodiscard]] cargo_list cargo_of(const frame_header& frame) {
    return (frame.flags & has_cargo) != 0 ? channel_.take_cargo(frame.number) : cargo_list{};
  }

  void run_tasks(const frame_header& frame, std::span<const std::byte> payload) {
    task_batch batch;
    batch.frame = frame;
    batch.payload = payload;
    if (!take_front(batch.payload, batch.header)) {
      stopping_ = true;
      return;
    }
    batch.cargo = cargo_of(frame);
    take_part(batch.payload, batch.state, batch.callable_view);
    // Tasks are claimed in order: none may overtake those that wait.
    if (!held_.empty() || !run_batch(batch)) {
      hold(std::move(batch), payload);
    }
    if (coroutines_ && coroutines_->active() > 0) {
      coroutines_->run_ready();
    }
  }

  /// Keeps it until a coroutine has ended: the frame's memory is the message's.
  void hold(task_batch batch, std::span<const std::byte> payload) {
    batch.copy.assign(reinterpret_cast<const char*>(payload.data()), payload.size());
    held_.push_back(std::move(batch));
    task_batch& kept = held_.back();
    const auto moved = [&, to = std::as_bytes(std::span{kept.copy})](auto& part) {
      part = to.subspan(static_cast<std::size_t>(part.data() - payload.data()), part.size());
    };
    moved(kept.payload);
    if (!kept.callable_view) {
      moved(kept.state);
    }
  }

  /// False: as many coroutines as may be are active, and some of its tasks are left.
  bool run_batch(task_batch& batch) {
    for (; batch.next < batch.header.count && !orphaned_; ++batch.next) {
      if (!may_begin()) {
        return false;
      }
      run_next(batch);
    }
    channel_.ring_bell();
    return true;
  }

  void run_next(task_batch& batch) {
    std::span<const std::byte> arguments;
    std::shared_ptr<const mapping> view;
    const std::uint64_t number = batch.frame.number + batch.next;
    if (!channel_.claim(number)) {
      skip_part(batch.payload);
      return;
    }
    // For the result before this one: this task may take long.
    channel_.ring_bell_after_claim();
    TROUPE_FAILPOINT("worker.claimed");
    if (batch.begun == 0) {
      batch.begun = now_ns();
    }
    current.task = batch.header.task;
    current.number = number;
    current.attempt = batch.header.attempt;
    if ((batch.frame.flags & announce_begin) != 0) {
      push(frame_kind::began, 0, number, {}, {});
      channel_.ring_bell();
    }
    begin_result();
    task_stage stage = task_stage::decode_callable;
    std::exception_ptr thrown;
    bool goes_on = false;
    try {
      const cargo_unloading unloading{batch.cargo};
      if (!batch.decoded) {
        batch.decoded = true;
        try {
          batch.task = decode_task_callable(batch.state);
        } catch (...) {
          batch.no_callable = std::current_exception();
        }
      }
      if (batch.no_callable) {
        std::rethrow_exception(batch.no_callable);
      }
      take_part(batch.payload, arguments, view);
      if (batch.task->is_coroutine()) {
        stage = task_stage::decode_arguments;
        coroutines().begin(current, batch.task, arguments, std::move(view), stage);
        goes_on = true;
      } else {
        watched([&] { batch.task->run(arguments, result_, stage); });
        check_result();
      }
    } catch (...) {
      thrown = std::current_exception();
      if (batch.no_callable) {
        skip_part(batch.payload);
      }
    }
    if (goes_on) {
      batch.begun = 0;
      batch.timed_items = 0;
    } else {
      TROUPE_FAILPOINT("worker.ran");
      const result_timing timing = time_item(batch);
      if (thrown) {
        send_failure(number, thrown, stage, timing);
      } else {
        send_result(number, timing);
      }
      TROUPE_FAILPOINT("worker.sent");
    }
    current.task = 0;
    current.number = 0;
    current.attempt = 0;
  }

  result_timing time_item(task_batch& batch) {
    result_timing timing;
    ++batch.timed_items;
    const bool last = batch.next + 1 == batch.header.count;
    if (last || mean_ns_ > worth_timing_ns) {
      const std::int64_t now = now_ns();
      timing.nanoseconds = static_cast<std::uint64_t>(now - batch.begun);
      timing.items = batch.timed_items;
      mean_ns_ = static_cast<std::int64_t>(timing.nanoseconds / batch.timed_items);
      batch.begun = now;
      batch.timed_items = 0;
    }
    return timing;
  }

  coroutine_loop& coroutines() {
    if (!coroutines_) {
      coroutines_ = std::make_unique<coroutine_loop>(
          channel_.readiness(),
          [this]() -> byte_sink& {
            begin_result();
            return result_;
          },
          [this](const coroutine_end& how) { on_coroutine_end(how); });
    }
    return *coroutines_;
  }

  void on_coroutine_end(const coroutine_end& how) {
    TROUPE_FAILPOINT("worker.ran");
    const result_timing timing{how.nanoseconds, 1};
    std::exception_ptr thrown = how.thrown;
    if (!thrown) {
      try {
        check_result();
      } catch (...) {
        thrown = std::current_exception();
      }
    }
    if (how.cancelled) {
      failure what;  // the supervisor, which knows who asked, finds the words
      what.code = errc::cancelled;
      what.ran = task_ran::yes;
      what.stage = "run";
      sign(what);
      byte_buffer bytes;
      encode(bytes, what);
      send_inline(how.number, result_failed, timing, bytes.bytes());
    } else if (thrown) {
      send_failure(how.number, thrown, how.stage, timing);
    } else {
      send_result(how.number, timing);
    }
    unrung_ = true;
    TROUPE_FAILPOINT("worker.sent");
  }

  void begin_result() {
    result_.clear();
    result_cargo_.clear();
  }

  void check_result() const {
    result_.check_limit();
    if (result_cargo_.size() > max_cargo_of_part) {
      throw too_much_cargo("troupe: the values of a result", task_ran::yes);
    }
  }

  void take_part(std::span<const std::byte>& payload, std::span<const std::byte>& part,
                 std::shared_ptr<const mapping>& view) {
    std::uint32_t length = 0;
    segment_reference where;
    take_front(payload, length);
    if (length != in_segment) {
      part = payload.first(length);
      payload = payload.subspan(length);
    } else if (take_front(payload, where)) {
      view = channel_.open_payload(where);
      part = {view->data(), static_cast<std::size_t>(where.bytes)};
    }
  }

  static void skip_part(std::span<const std::byte>& payload) {
    std::uint32_t length = 0;
    take_front(payload, length);
    payload = payload.subspan(length == in_segment ? sizeof(segment_reference) : length);
  }

  void sign(failure& what) const {
    if (what.pid == 0) {
      what.pid = this_process::pid();
      what.host = host_;
    }
    what.task = current.task;
    what.attempt = current.attempt;
  }

  void send_failure(std::uint64_t number, const std::exception_ptr& thrown, task_stage stage,
                    const result_timing& timing) {
    failure what;
    auto frames = take_throw_trace();
    switch (stage) {
      case task_stage::decode_callable:
      case task_stage::decode_arguments:
        what = capture_failure(errc::argument_decode_failed, thrown);
        what.stage = "decode";
        break;
      case task_stage::run:
        what = capture_failure(thrown);
        what.frames = std::move(frames);
        what.stage = "run";
        break;
      case task_stage::encode_result:
        what = capture_failure(thrown);
        if (what.code != errc::payload_too_large) {
          what = capture_failure(errc::result_encode_failed, thrown);
        }
        what.ran = task_ran::yes;
        what.stage = "encode";
        break;
    }
    sign(what);
    byte_buffer bytes;  // not `result_`: its limit is the user's, and this is ours
    encode(bytes, what);
    if (bytes.size() > inline_limit) {
      what.causes.clear();
      what.frames.clear();
      what.text.resize(std::min<std::size_t>(what.text.size(), inline_limit / 4));
      what.type_name.resize(std::min<std::size_t>(what.type_name.size(), inline_limit / 4));
      bytes.clear();
      encode(bytes, what);
    }
    send_inline(number, result_failed, timing, bytes.bytes());
  }

  void send_result(std::uint64_t number, const result_timing& timing) {
    std::uint16_t flags = 0;
    if (!result_cargo_.empty()) {
      flags = result_has_cargo;
      if (!channel_.send_cargo(number, result_cargo_)) {
        orphaned_ = true;
        return;
      }
      result_cargo_.clear();  // the supervisor has it now
    }
    const auto& segment = result_.in_segment();
    if (!segment) {
      send_inline(number, flags, timing, result_.bytes());
      return;
    }
    segment_reference where{segment->id(), result_.size(), result_slots};
    for (std::size_t slot = 0; slot < result_slots; ++slot) {
      std::atomic<std::uint8_t>& in_use = channel_.result_slot(slot);
      if (in_use.load(std::memory_order_acquire) == 0) {
        in_use.store(1);
        segment->in_use = &in_use;
        where.slot = slot;
        break;
      }
    }
    if (where.slot == result_slots) {
      static std::atomic<std::uint8_t> for_ever{1};
      segment->in_use = &for_ever;  // nobody tells when it was read: it is not used again
    }
    if (!channel_.send_segment(segment->id(), segment->reader())) {
      orphaned_ = true;
      return;
    }
    send_inline(number, flags | result_in_segment, timing, std::as_bytes(std::span{&where, 1}));
    result_.clear();
  }

  void send_inline(std::uint64_t number, std::uint16_t flags, const result_timing& timing,
                   std::span<const std::byte> bytes) {
    std::span<const std::byte> head;
    if (timing.items > 0) {
      flags |= result_timed;
      head = std::as_bytes(std::span{&timing, 1});
    }
    push(frame_kind::result, flags, number, head, bytes);
  }

  void push(frame_kind kind, std::uint16_t flags, std::uint64_t number,
            std::span<const std::byte> head, std::span<const std::byte> body) {
    if (!channel_.push(kind, flags, number, head, body)) {
      orphaned_ = true;
    }
  }

  worker_channel& channel_;
  stop_watcher watcher_;
  std::shared_ptr<segment_pool> segments_;
  payload_sink result_;
  nested_calls nested_;
  cargo_list result_cargo_;
  cargo_loading result_scope_{result_cargo_};  // of the main thread, on which all tasks run
  std::string host_ = host_name();
  std::uint64_t concurrency_ = 1;
  std::unique_ptr<coroutine_loop> coroutines_;  // made for the first one
  std::deque<task_batch> held_;                 // until a coroutine ends, in order
  bool unrung_ = false;                         // a coroutine's result may need the bell
  std::int64_t mean_ns_ = 0;
  std::uint64_t reported_for_ = 0;
  std::int64_t reported_at_ns_ = 0;
  bool stopping_ = false;
  bool orphaned_ = false;
};

void report_progress(std::uint64_t done, std::uint64_t total, std::string_view text) {
  reporter->report(done, total, text);
}

/// Receives the serialized task messages of the supervisor actor at the other end of the channel.
class worker_actor final : public compat::pinned_actor {
 public:
  worker_actor(caf::actor_config& config, worker* state)
      : compat::pinned_actor{config}, state_{state} {}

  caf::behavior make_behavior() override {
    return {[this](std::uint32_t, std::uint64_t, const std::string& frames) {
      state_->run_frames(std::as_bytes(std::span{frames}));
    }};
  }

 private:
  worker* state_;
};

/// What tasks printed becomes visible before this process sleeps, and is not lost when it is
/// killed.
void flush_output() {
  if (::__fpending(stdout) > 0) {
    std::fflush(stdout);
  }
  std::cout.flush();
}

std::string own_hello() {
  hello mine;
  mine.worker = this_process::worker_id();
  const auto build = program_build_id();
  mine.pid = this_process::pid();
  mine.build_id_bytes = static_cast<std::uint8_t>(std::min(build.size(), sizeof mine.build_id));
  std::memcpy(mine.build_id, build.data(), mine.build_id_bytes);
  return to_bytes(mine);
}

/// Receives the one message that says what a `process` is to be.
class process_actor final : public compat::pinned_actor {
 public:
  process_actor(caf::actor_config& config, std::string* role)
      : compat::pinned_actor{config}, role_{role} {}

  caf::behavior make_behavior() override {
    return {
        [this](std::uint32_t, std::uint64_t, std::string& frames) { *role_ = std::move(frames); }};
  }

 private:
  std::string* role_;
};

/// The bytes of one message, handled by `receiver` here and now. False: there are none yet.
bool deliver_frames(worker_channel& channel, const caf::actor& receiver, compat::run_loop& loop) {
  std::string frames;
  if (channel.take_frames(frames, bytes_per_message) == 0) {
    return false;
  }
  const std::uint64_t bytes = frames.size();
  compat::deliver(receiver,
                  compat::make_message(static_cast<std::uint32_t>(worker_message::run_frames),
                                       bytes, std::move(frames)),
                  loop);
  loop.run();
  return true;
}

[[noreturn]] void act_as_process(worker_channel& channel, caf::actor_system& actors) {
  // Forked from a task it would go on with that: with a channel that is not mapped here.
  current = {};
  reporter = nullptr;
  compat::run_loop loop{actors};
  std::string role;
  const caf::actor receiver = actors.spawn<process_actor, caf::lazy_init>(&role);
  while (!deliver_frames(channel, receiver, loop)) {
    if (!channel.wait_for_frames()) {
      ::_exit(0);
    }
  }
  auto payload = std::as_bytes(std::span{role});
  frame_header header;
  if (!take_front(payload, header) || header.kind != frame_kind::become) {
    ::_exit(0);
  }
  // Outside of the message: the target may take as long as it likes, and leaves with exit.
  run_process(channel, header, payload.first(header.bytes));
}

[[noreturn]] void act_as_worker(worker_channel& channel, caf::actor_system& actors) {
  worker state{channel};
  compat::run_loop loop{actors};
  const caf::actor receiver = actors.spawn<worker_actor, caf::lazy_init>(&state);
  while (!state.stopping()) {
    if (deliver_frames(channel, receiver, loop) || state.run_held()) {
      continue;
    }
    flush_output();
    if (!state.sleep()) {
      break;
    }
  }
  flush_output();
  // Not exit: the destructors and handlers of the program belong to its main process, and an actor
  // system is not to be torn down in a copy of it.
  ::_exit(0);
}

}  // namespace

void run_worker(worker_boot&& boot) {
  TROUPE_FAILPOINT("worker.before_hello");
  // Large results come and go: keep their memory instead of asking the kernel for it each time.
  ::mallopt(M_MMAP_THRESHOLD, 1 << 30);
  ::mallopt(M_TRIM_THRESHOLD, 512 << 20);
  large_fill_hook = &prepare_pages;
  worker_channel channel{std::move(boot.ends)};
  install_crash_handler(channel.crash_record());
  channel.send_hello(own_hello());
  compat::init_types();
  caf::actor_system_config config;
  compat::configure_without_threads(config);
  caf::actor_system actors{config};
  engine::enter_worker(this_program());
  if (boot.is_process) {
    act_as_process(channel, actors);
  }
  act_as_worker(channel, actors);
}

}  // namespace troupe::detail

namespace troupe::detail {
namespace {

nested_calls& calls_of_task() {
  if (reporter == nullptr || current.number == 0 || local_task::here() != nullptr ||
      ::getpid() != ::gettid()) {
    throw error{errc::wrong_state, task_ran::no,
                "troupe: this_task::pool() is for tasks of a pool of processes, on the thread that "
                "runs the task: elsewhere use the pool itself, or make another one"};
  }
  return reporter->nested();
}

}  // namespace

job_builder nested_builder() {
  return calls_of_task().builder();
}
std::shared_ptr<future_state> submit_nested(job_builder&& job) {
  return calls_of_task().submit(std::move(job));
}

}  // namespace troupe::detail

namespace troupe::this_task {

own_pool pool() {
  static_cast<void>(detail::calls_of_task());
  return {};
}

// A task of a thread pool first: it may be in a worker process, inside of a task there.
std::stop_token stop_token() {
  if (const auto* const local = detail::local_task::here()) {
    return local->stop_token();
  }
  const auto& now = detail::current;
  if (now.stop != nullptr) {
    return now.stop->get_token();
  }
  return now.number != 0 && now.watcher != nullptr ? now.watcher->token(now.number)
                                                   : std::stop_token{};
}
void progress(std::uint64_t done, std::uint64_t total, std::string_view text) {
  if (const auto* const local = detail::local_task::here()) {
    local->report(done, total, text);
  } else if (detail::current.number != 0) {
    detail::report_progress(done, total, text);
  }
}
std::uint64_t id() noexcept {
  const auto* const local = detail::local_task::here();
  return local != nullptr ? local->number : detail::current.task;
}
std::uint32_t attempt() noexcept {
  const auto* const local = detail::local_task::here();
  return local != nullptr ? local->attempt : detail::current.attempt;
}

}  // namespace troupe::this_task
