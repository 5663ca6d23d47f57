// SPDX-License-Identifier: BSD-3-Clause

// The worker process: its main thread reads task frames from the ring, sends them to the worker
// actor, and runs that actor right there. Tasks that are coroutines take turns on the same thread.

#include "pools/worker/worker_actor.hpp"

#include "troupe/detail/buffer_segment.hpp"
#include "troupe/this_process.hpp"

#include "caf/mailbox.hpp"
#include "channel/crash_record.hpp"
#include "host/runtime.hpp"
#include "os/failpoint.hpp"
#include "os/leave.hpp"
#include "pools/thread/state/local_task.hpp"
#include "pools/worker/output.hpp"
#include "pools/worker/this_worker.hpp"
#include "pools/worker/worker.hpp"
#include "process/worker_sigterm.hpp"

#include <malloc.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <utility>

namespace troupe::detail {
namespace {

/// Frames of the supervisor, where the channel has them.
struct frames_came {
  std::span<const std::byte> bytes;
};

/// Takes what the supervisor actor at the other end of the channel says.
struct frame_receiver {
  worker& state;
  void handle(const frames_came& message) const { state.run_frames(message.bytes); }
};

/// Keeps the one message that says what a `process` is to be.
struct role_receiver {
  std::string& role;
  void handle(const frames_came& message) const {
    role.assign(reinterpret_cast<const char*>(message.bytes.data()), message.bytes.size());
  }
};

std::string own_hello() {
  hello mine;
  mine.worker = this_process::worker_id();
  const auto build = program_build_id();
  mine.pid = this_process::pid();
  mine.build_id_bytes = static_cast<std::uint8_t>(std::min(build.size(), sizeof mine.build_id));
  std::memcpy(mine.build_id, build.data(), mine.build_id_bytes);
  return to_bytes(mine);
}

/// What came is handled by `receiver` here and now. False: nothing has come.
template <class Receiver>
bool deliver_frames(worker_channel& channel, mailbox<frames_came, Receiver>& receiver,
                    compat::run_loop& loop) {
  const std::span<const std::byte> frames = channel.next_frames();
  if (frames.empty()) {
    return false;
  }
  receiver.send({frames}, loop);
  channel.finish_frames();
  return true;
}

[[noreturn]] void act_as_process(worker_channel& channel, caf::actor_system& actors,
                                 process_target act) {
  // Forked from a task it would go on with that: with a channel that is not mapped here.
  this_worker() = {};
  compat::run_loop loop{actors};
  std::string role;
  mailbox<frames_came, role_receiver> receiver{
      actors, std::make_unique<role_receiver>(role_receiver{role})};
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
  act(channel, header, payload.first(header.bytes));
  std::abort();  // it does not return
}

[[noreturn]] void act_as_worker(worker_channel& channel, caf::actor_system& actors) {
  leave_in_exit(nullptr);  // a task may call exit
  worker state{channel};
  // Its own: tasks make pools, which have an actor system of their own.
  compat::run_loop loop{actors};
  mailbox<frames_came, frame_receiver> receiver{
      actors, std::make_unique<frame_receiver>(frame_receiver{state})};
  while (!state.stopping()) {
    if (deliver_frames(channel, receiver, loop) || state.run_held()) {
      continue;
    }
    flush_output();
    if (!state.sleep()) {
      break;
    }
  }
  state.nested().finish_callbacks();
  // Not exit: the destructors and handlers of the program belong to its main process, and an actor
  // system is not to be torn down in a copy of it.
  leave(0);
}

}  // namespace

void run_worker(worker_boot&& boot, process_target act) {
  TROUPE_FAILPOINT("worker.before_hello");
  // Large results come and go: keep their memory instead of asking the kernel for it each time.
  ::mallopt(M_MMAP_THRESHOLD, 1 << 30);
  ::mallopt(M_TRIM_THRESHOLD, 512 << 20);
  large_fill_hook = &prepare_pages;
  begin_keeping_buffers();
  worker_channel channel{std::move(boot.ends)};
  if (!boot.is_process) {
    take_sigterm(static_cast<pid_t>(boot.program), channel);
  }
  install_crash_handler(channel.crash_record());
  channel.send_hello(own_hello());
  compat::init_types();
  caf::actor_system_config config;
  compat::configure_without_threads(config);
  const auto actors = compat::make_system(config);
  // A process that a task of a thread pool forked is no worker thread of that pool.
  wait_helper::of_this_thread() = nullptr;
  local_task::here() = nullptr;
  runtime::enter_worker(this_program());
  if (boot.is_process) {
    act_as_process(channel, *actors, act);
  }
  act_as_worker(channel, *actors);
}

}  // namespace troupe::detail
