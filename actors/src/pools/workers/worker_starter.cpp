// SPDX-License-Identifier: BSD-3-Clause
#include "pools/workers/worker_starter.hpp"

#include "troupe/codec.hpp"

#include "host/runtime.hpp"
#include "os/shortage.hpp"
#include "pools/pool_limits.hpp"

#include <algorithm>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <utility>

namespace troupe::detail {

namespace {

std::uint64_t seed() {
  return std::random_device{}();
}

restart_limits for_starts(restart_limits limits) {
  limits.intensity = std::numeric_limits<int>::max();
  return limits;
}

}  // namespace

worker_starter::worker_starter(pool_state& state)
    : state_{state},
      method_{state.options.start.value_or(get_start_method())},
      deaths_{limits_of(state.options), seed()},
      starts_{for_starts(limits_of(state.options)), seed()} {
  const configure_header header{
      state.options.max_payload_bytes, static_cast<std::uint64_t>(state.options.concurrency),
      runtime::depth() + 1, static_cast<std::uint64_t>(get_start_method())};
  byte_buffer bytes;
  bytes.append(&header, sizeof header);
  if (state.options.initializer) {
    const attachment_collector scope{configuration_attachments_};
    encode(bytes, state.options.initializer);
  }
  configuration_.assign(bytes.bytes().begin(), bytes.bytes().end());
}

void worker_starter::configure(supervisor_channel& channel) {
  std::byte* const room = channel.begin_frame(configuration_.size());
  if (room == nullptr) {
    throw error{errc::payload_too_large, task_ran::no,
                "the initializer's arguments take " + std::to_string(configuration_.size()) +
                    " bytes, the limit is " + std::to_string(max_frame_bytes) +
                    ": pass a file name or a shared object instead"};
  }
  std::memcpy(room, configuration_.data(), configuration_.size());
  if (!configuration_attachments_.empty()) {
    if (const int code = channel.send_attachments(0, configuration_attachments_); code != 0) {
      throw shortage("what the initializer of " + state_.face.title() +
                         " refers to could not be sent to a new worker",
                     code);
    }
  }
  channel.publish({static_cast<std::uint32_t>(configuration_.size()), frame_kind::configure,
                   configuration_attachments_.empty() ? std::uint16_t{0} : has_attachments, 0});
  channel.arm();
}

std::shared_ptr<const failure> worker_starter::launch(std::uint64_t task_limit) {
  auto made = std::make_unique<worker_record>();
  made->task_limit = task_limit;
  try {
    made->channel = std::make_unique<supervisor_channel>();
    made->id = state_.host.enroll(state_.face.shared_from_this());
    configure(*made->channel);
    state_.host.watch(made->channel->socket(),
                      [weak = state_.face.weak_from_this(), id = made->id] {
                        if (const auto pool = weak.lock()) {
                          pool->tell(channel_ready{id});
                        }
                      });
  } catch (const error&) {
    if (made->id != 0) {
      state_.host.dismiss(made->id);
    }
    return std::make_shared<const failure>(capture_failure(std::current_exception()));
  }
  worker_host::start_order order{made->id, method_, made->channel->take_worker_ends(), {}};
  if (state_.options.capture_stderr) {
    const auto all = static_cast<std::size_t>(state_.options.workers);
    order.capture_stderr_and_leave_for = all - std::min(state_.workers.size(), all);
  }
  const worker_record& added = state_.workers.add(std::move(made));
  state_.set_timer(later(state_.now(), state_.options.start_timeout), timer::start_limit, added.id);
  state_.host.launch(std::move(order));
  return nullptr;
}

void worker_starter::pause(std::chrono::milliseconds delay) {
  if (!relaunch_at_) {
    relaunch_at_ = state_.now() + delay;
    state_.set_timer(*relaunch_at_, timer::relaunch);
  }
}

void worker_starter::note_started() {
  start_row_ = {};
  last_start_ = state_.now();
  forgiven_since_ = false;
  refused_row_ = {};
}

restart_verdict worker_starter::on_death(charge what) {
  if (what == charge::forgiven && std::exchange(forgiven_since_, true)) {
    return {};
  }
  const steady_time now = state_.now();
  restart_verdict made = deaths_.on_end(death_row_, what, now - last_start_, now);
  if (what == charge::counts) {
    made.delay = {};  // a worker that had started is replaced at once
  }
  return made;
}

restart_verdict worker_starter::on_failed_start() {
  return starts_.on_failed_start(start_row_, charge::counts, state_.now());
}

std::chrono::milliseconds worker_starter::on_refused_start() {
  // Whether that is too many in a row is for the tasks that wait: see `refused_for_long`.
  return starts_.on_failed_start(refused_row_, charge::forgiven, state_.now()).delay;
}

}  // namespace troupe::detail
