// SPDX-License-Identifier: BSD-3-Clause

// A worker's tasks: claimed in order, run one after the other, or begun if they are coroutines.

#include "os/failpoint.hpp"
#include "pools/worker/output.hpp"
#include "pools/worker/this_worker.hpp"
#include "pools/worker/worker.hpp"
#include "process/throw_trace.hpp"

#include <exception>
#include <utility>

namespace troupe::detail {
namespace {

/// A task shorter than this is not timed by itself, only with its neighbours.
constexpr std::int64_t worth_timing_ns = 2'000;

}  // namespace

bool worker::run_held() {
  if (held_.empty() || !may_begin()) {
    return false;
  }
  if (run_batch(held_.front())) {
    held_.pop_front();
  }
  coroutines_->run_ready();
  return true;
}

void worker::run_tasks(const frame_header& frame, std::span<const std::byte> payload) {
  task_batch batch;
  batch.frame = frame;
  batch.payload = payload;
  if (!take_front(batch.payload, batch.header)) {
    stopping_ = true;
    return;
  }
  try {
    batch.attachments = attachments_of(frame);
  } catch (const error&) {
    batch.no_callable = std::current_exception();
  }
  if (batch.no_callable) {
    skip_part(batch.payload);
  } else {
    try {
      batch.callable_place =
          take_part(batch.payload, batch.frame.number, batch.state, batch.callable_view);
    } catch (const error&) {
      batch.no_callable = std::current_exception();  // it is behind that part already
    }
  }
  if (!last_callable_.is(batch.callable_place)) {
    last_callable_ = {};  // before the other one is decoded: both may be large
  }
  batch.task = last_callable_.task;
  batch.decoded = batch.task != nullptr || batch.no_callable != nullptr;
  // Tasks are claimed in order: none may overtake those that wait.
  if (!held_.empty() || !run_batch(batch)) {
    hold(std::move(batch), payload);
  }
  if (coroutines_ && coroutines_->active() > 0) {
    coroutines_->run_ready();
  }
}

void worker::hold(task_batch batch, std::span<const std::byte> payload) {
  batch.copy.assign(reinterpret_cast<const char*>(payload.data()), payload.size());
  held_.push_back(std::move(batch));
  task_batch& kept = held_.back();
  const auto moved = [&, to = std::as_bytes(std::span{kept.copy})](auto& part) {
    part = to.subspan(static_cast<std::size_t>(part.data() - payload.data()), part.size());
  };
  moved(kept.payload);
  if (!kept.callable_view && !kept.state.empty()) {
    moved(kept.state);
  }
}

bool worker::run_batch(task_batch& batch) {
  for (; batch.next < batch.header.count && !orphaned_; ++batch.next) {
    if (!may_begin()) {
      return false;
    }
    run_next(batch);
  }
  channel_.done_before(batch.frame.number + batch.header.count);
  channel_.ring_bell();
  return true;
}

void worker::run_next(task_batch& batch) {
  std::span<const std::byte> arguments;
  std::shared_ptr<const mapping> view;
  const std::uint64_t number = batch.frame.number + batch.next;
  current_task& now = this_worker().task;
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
  now.task = batch.header.task;
  now.number = number;
  now.attempt = batch.header.attempt;
  if ((batch.frame.flags & announce_begin) != 0) {
    push(frame_kind::began, 0, number, {}, {});
    channel_.ring_bell();
  }
  begin_result();
  task_stage stage = task_stage::decode_callable;
  std::exception_ptr thrown;
  bool goes_on = false;
  try {
    const attachment_source unloading{batch.attachments};
    if (!batch.decoded) {
      batch.decoded = true;
      decode_callable(batch);
    }
    if (batch.no_callable) {
      std::rethrow_exception(batch.no_callable);
    }
    take_part(batch.payload, batch.frame.number, arguments, view);
    if (batch.task->is_coroutine()) {
      stage = task_stage::decode_arguments;
      coroutines().begin(now, batch.task, arguments, std::move(view), stage);
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
    flush_output();
    TROUPE_FAILPOINT("worker.ran");
    const result_timing timing = time_item(batch);
    if (thrown) {
      send_failure(number, thrown, stage, timing);
    } else {
      send_result(number, timing);
    }
    TROUPE_FAILPOINT("worker.sent");
  }
  now.task = 0;
  now.number = 0;
  now.attempt = 0;
}

void worker::decode_callable(task_batch& batch) {
  try {
    batch.task = decode_task_callable(batch.state);
  } catch (...) {
    batch.no_callable = std::current_exception();
    return;
  }
  if (batch.callable_place.id != 0) {
    last_callable_ = {batch.callable_place.id, batch.callable_place.slot, batch.task,
                      !batch.attachments.empty()};
  }
}

result_timing worker::time_item(task_batch& batch) {
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

coroutine_loop& worker::coroutines() {
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

segment_reference worker::take_part(std::span<const std::byte>& payload, std::uint64_t number,
                                    std::span<const std::byte>& part,
                                    std::shared_ptr<const mapping>& view) {
  std::uint32_t length = 0;
  segment_reference where;
  take_front(payload, length);
  if (length != in_segment) {
    part = payload.first(length);
    payload = payload.subspan(length);
  } else if (take_front(payload, where)) {
    view = channel_.open_payload(where, number);
    part = {view->data(), static_cast<std::size_t>(where.bytes)};
  }
  return where;
}

void worker::skip_part(std::span<const std::byte>& payload) {
  std::uint32_t length = 0;
  take_front(payload, length);
  payload = payload.subspan(length == in_segment ? sizeof(segment_reference) : length);
}

}  // namespace troupe::detail
