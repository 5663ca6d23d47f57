// SPDX-License-Identifier: BSD-3-Clause

// A worker's frames: what it is told, and what it says that is not a result.

#include "pools/worker/worker.hpp"

#include "troupe/callable.hpp"
#include "troupe/codec.hpp"
#include "troupe/progress.hpp"
#include "troupe/start_method.hpp"
#include "troupe/this_process.hpp"

#include "host/runtime.hpp"
#include "os/failpoint.hpp"
#include "pools/worker/this_worker.hpp"

#include <unistd.h>

#include <algorithm>
#include <utility>

namespace troupe::detail {

namespace {

constexpr std::size_t max_idle_result_bytes = std::size_t{256} << 20;

std::string host_name() {
  char name[256] = {};
  return ::gethostname(name, sizeof name - 1) == 0 ? name : "";
}

}  // namespace

worker::worker(worker_channel& channel)
    : channel_{channel},
      watcher_{channel},
      segments_{std::make_shared<segment_pool>(max_idle_result_bytes)},
      result_{segments_, UINT64_MAX, "the bytes of the result"},
      nested_{channel, segments_},
      host_{host_name()} {
  this_worker() = {this, {.watcher = &watcher_}};
}

void worker::run_frames(std::span<const std::byte> frames) {
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

void worker::report(std::uint64_t done, std::uint64_t total, std::string_view text) {
  constexpr std::int64_t interval_ns = 20'000'000;
  const std::int64_t now = now_ns();
  const bool complete = total != 0 && done >= total;
  if (reported_for_ == this_worker().task.number && now - reported_at_ns_ < interval_ns &&
      !complete) {
    return;
  }
  reported_for_ = this_worker().task.number;
  reported_at_ns_ = now;
  const progress_header header{done, total};
  text = text.substr(0, max_progress_text);
  push(frame_kind::progress, 0, this_worker().task.number, std::as_bytes(std::span{&header, 1}),
       std::as_bytes(std::span{text.data(), text.size()}));
  channel_.ring_bell();
}

bool worker::sleep() {
  if (unrung_) {
    unrung_ = false;
    channel_.ring_bell();
  }
  if (last_callable_.has_attachments) {
    // What it refers to is not kept while nothing runs: a reader of the other end of a connection
    // would wait for its end.
    last_callable_ = {};
  }
  if (!coroutines_ || !coroutines_->has_work()) {
    return channel_.wait_for_frames();
  }
  if (!channel_.prepare_to_sleep()) {
    return true;
  }
  return !coroutines_->wait() || channel_.read_bells();
}

void worker::configure(const frame_header& frame, std::span<const std::byte> payload) {
  configure_header header;
  take_front(payload, header);
  result_.limit(header.max_result_bytes);
  nested_.limit(header.max_result_bytes);
  concurrency_ = header.concurrency;
  runtime::set_depth(header.depth);
  adopt_start_method(header.start);
  try {
    TROUPE_FAILPOINT("worker.initializer");
    if (!payload.empty()) {
      const attachment_list attachments = attachments_of(frame);
      const attachment_source scope{attachments};
      decode<bound_call>(payload)();
    }
  } catch (...) {
    failure why = capture_failure(std::current_exception());
    sign(why);
    why.stage = "initializer";
    byte_buffer bytes;
    encode(bytes, why);
    if (bytes.size() > inline_limit) {
      shorten(why);
      bytes.clear();
      encode(bytes, why);
    }
    push(frame_kind::init_failed, 0, 0, {}, bytes.bytes());
    channel_.ring_bell();
    stopping_ = true;
    return;
  }
  push(frame_kind::ready, 0, 0, {}, {});
  channel_.ring_bell();
}

attachment_list worker::attachments_of(const frame_header& frame) {
  return (frame.flags & has_attachments) != 0 ? channel_.take_attachments(frame.number)
                                              : attachment_list{};
}

void worker::sign(failure& what) const {
  if (what.pid == 0) {
    what.pid = this_process::pid();
    what.host = host_;
  }
  what.task = this_worker().task.task;
  what.attempt = this_worker().task.attempt;
}

void worker::push(frame_kind kind, std::uint16_t flags, std::uint64_t number,
                  std::span<const std::byte> head, std::span<const std::byte> body) {
  if (!channel_.push(kind, flags, number, head, body)) {
    orphaned_ = true;
  }
}

}  // namespace troupe::detail
