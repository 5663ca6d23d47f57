// SPDX-License-Identifier: BSD-3-Clause

// The worker process: its main thread reads task frames from the ring, sends them to the worker
// actor, and runs that actor right there.

#include "worker_actor.hpp"

#include "troupe/callable.hpp"
#include "troupe/codec.hpp"
#include "troupe/detail/failpoint.hpp"
#include "troupe/detail/futex.hpp"
#include "troupe/detail/segment.hpp"
#include "troupe/this_process.hpp"
#include "troupe/this_task.hpp"

#include "caf.hpp"
#include "engine.hpp"
#include "messages.hpp"

#include <malloc.h>
#include <signal.h>
#include <stdio_ext.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <iostream>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>

namespace troupe::detail {
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

/// What this process is doing now, for this_task.
struct current_task {
  std::uint64_t task = 0;
  std::uint64_t number = 0;
  std::uint32_t attempt = 0;
  stop_watcher* watcher = nullptr;
};
current_task current;

std::string host_name() {
  char name[256] = {};
  return ::gethostname(name, sizeof name - 1) == 0 ? name : "";
}

class worker {
 public:
  explicit worker(worker_channel& channel)
      : channel_{channel},
        watcher_{channel},
        segments_{std::make_shared<segment_pool>(max_idle_result_bytes)},
        result_{segments_, UINT64_MAX, "the bytes of the result"} {
    current.watcher = &watcher_;
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
          configure(payload);
          break;
        case frame_kind::tasks:
          run_tasks(header, payload);
          break;
        default:
          stopping_ = true;
          break;
      }
    }
  }

  [[nodiscard]] bool stopping() const { return stopping_ || orphaned_; }

 private:
  void configure(std::span<const std::byte> payload) {
    configure_header header;
    take_front(payload, header);
    result_.limit(header.max_result_bytes);
    try {
      TROUPE_FAILPOINT("worker.initializer");
      if (!payload.empty()) {
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

  void run_tasks(const frame_header& frame, std::span<const std::byte> payload) {
    run_header header;
    if (!take_front(payload, header)) {
      stopping_ = true;
      return;
    }
    std::shared_ptr<const mapping> callable_view;
    std::span<const std::byte> state;
    std::unique_ptr<erased_task> task;
    std::exception_ptr no_callable;
    bool decoded = false;
    std::uint64_t timed_items = 0;
    std::int64_t begun = 0;
    take_part(payload, state, callable_view);
    for (std::uint32_t i = 0; i < header.count && !orphaned_; ++i) {
      std::span<const std::byte> arguments;
      std::shared_ptr<const mapping> view;
      const std::uint64_t number = frame.number + i;
      if (!channel_.claim(number)) {
        skip_part(payload);
        continue;
      }
      // For the result before this one: this task may take long.
      channel_.ring_bell_after_claim();
      TROUPE_FAILPOINT("worker.claimed");
      if (begun == 0) {
        begun = now_ns();
      }
      current.task = header.task;
      current.number = number;
      current.attempt = header.attempt;
      if ((frame.flags & announce_begin) != 0) {
        push(frame_kind::began, 0, number, {}, {});
        channel_.ring_bell();
      }
      result_.clear();
      task_stage stage = task_stage::decode_callable;
      std::exception_ptr thrown;
      try {
        if (!decoded) {
          decoded = true;
          try {
            task = decode_task_callable(state);
          } catch (...) {
            no_callable = std::current_exception();
          }
        }
        if (no_callable) {
          std::rethrow_exception(no_callable);
        }
        take_part(payload, arguments, view);
        task->run(arguments, result_, stage);
        result_.check_limit();
      } catch (...) {
        thrown = std::current_exception();
        if (no_callable) {
          skip_part(payload);
        }
      }
      TROUPE_FAILPOINT("worker.ran");
      ++timed_items;
      result_timing timing;
      const bool last = i + 1 == header.count;
      std::int64_t now = 0;
      if (last || mean_ns_ > worth_timing_ns) {
        now = now_ns();
        timing.nanoseconds = static_cast<std::uint64_t>(now - begun);
        timing.items = timed_items;
        mean_ns_ = static_cast<std::int64_t>(timing.nanoseconds / timed_items);
        begun = now;
        timed_items = 0;
      }
      if (thrown) {
        send_failure(number, thrown, stage, timing);
      } else {
        send_result(number, timing);
      }
      TROUPE_FAILPOINT("worker.sent");
      current.task = 0;
      current.number = 0;
      current.attempt = 0;
    }
    channel_.ring_bell();
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
    switch (stage) {
      case task_stage::decode_callable:
      case task_stage::decode_arguments:
        what = capture_failure(errc::argument_decode_failed, thrown);
        what.stage = "decode";
        break;
      case task_stage::run:
        what = capture_failure(thrown);
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
      what.backtrace.clear();
      what.text.resize(std::min<std::size_t>(what.text.size(), inline_limit / 4));
      what.type_name.resize(std::min<std::size_t>(what.type_name.size(), inline_limit / 4));
      bytes.clear();
      encode(bytes, what);
    }
    send_inline(number, result_failed, timing, bytes.bytes());
  }

  void send_result(std::uint64_t number, const result_timing& timing) {
    const auto& segment = result_.in_segment();
    if (!segment) {
      send_inline(number, 0, timing, result_.bytes());
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
    send_inline(number, result_in_segment, timing, std::as_bytes(std::span{&where, 1}));
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
  std::string host_ = host_name();
  std::int64_t mean_ns_ = 0;
  bool stopping_ = false;
  bool orphaned_ = false;
};

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
  mine.build_id_bytes = static_cast<std::uint8_t>(std::min(build.size(), sizeof mine.build_id));
  std::memcpy(mine.build_id, build.data(), mine.build_id_bytes);
  return to_bytes(mine);
}

}  // namespace

void run_worker(worker_boot&& boot) {
  TROUPE_FAILPOINT("worker.before_hello");
  // Large results come and go: keep their memory instead of asking the kernel for it each time.
  ::mallopt(M_MMAP_THRESHOLD, 1 << 30);
  ::mallopt(M_TRIM_THRESHOLD, 512 << 20);
  large_fill_hook = &prepare_pages;
  worker_channel channel{std::move(boot.ends)};
  channel.send_hello(own_hello());
  sigset_t all;
  sigset_t old;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &old);
  compat::init_types();
  caf::actor_system_config config;
  compat::configure(config);
  caf::actor_system actors{config};
  pthread_sigmask(SIG_SETMASK, &old, nullptr);
  engine::enter_worker(this_program(), actors);
  worker state{channel};
  compat::run_loop loop{actors};
  const caf::actor receiver = actors.spawn<worker_actor, caf::lazy_init>(&state);
  while (!state.stopping()) {
    std::string frames;
    if (channel.take_frames(frames, bytes_per_message) > 0) {
      const std::uint64_t bytes = frames.size();
      compat::deliver(receiver,
                      compat::make_message(static_cast<std::uint32_t>(worker_message::run_frames),
                                           bytes, std::move(frames)),
                      loop);
      loop.run();
      continue;
    }
    flush_output();
    if (!channel.wait_for_frames()) {
      break;
    }
  }
  flush_output();
  // Not exit: the destructors and handlers of the program belong to its main process, and an actor
  // system is not to be torn down in a copy of it.
  ::_exit(0);
}

}  // namespace troupe::detail

namespace troupe::this_task {

std::stop_token stop_token() {
  const auto& now = detail::current;
  return now.number != 0 && now.watcher != nullptr ? now.watcher->token(now.number)
                                                   : std::stop_token{};
}
std::uint64_t id() noexcept {
  return detail::current.task;
}
std::uint32_t attempt() noexcept {
  return detail::current.attempt;
}

}  // namespace troupe::this_task
