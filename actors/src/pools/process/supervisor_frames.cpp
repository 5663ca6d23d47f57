// SPDX-License-Identifier: BSD-3-Clause

// What workers say: hello, that they are ready, and what became of their tasks.

#include "troupe/codec.hpp"
#include "troupe/detail/callable.hpp"
#include "troupe/progress.hpp"

#include "pools/process/supervisor_actor.hpp"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <utility>

namespace troupe::detail {
namespace {

/// A round of reading stops here, so that one busy worker does not keep the others waiting.
constexpr int max_frames_per_turn = 4096;

}  // namespace

void supervisor::greet(worker_record& worker) {
  const std::string text = worker.channel->take_hello();
  if (text.empty()) {
    return;
  }
  constexpr std::string_view exec_failed = "exec failed:";
  if (text.starts_with(exec_failed)) {
    const int code = std::atoi(text.c_str() + exec_failed.size());
    worker.start_failure =
        plain_failure(errc::spawn_failed, task_ran::no,
                      "cannot execute this program again for a worker of " + core_.title() + ": " +
                          std::strerror(code) + " (errno " + std::to_string(code) + ")");
    return;
  }
  hello said;
  const hello right;
  const std::span<const std::byte> build = program_build_id();
  const bool whole = text.size() == sizeof said;
  if (whole) {
    std::memcpy(&said, text.data(), sizeof said);
  }
  if (!whole || said.magic != right.magic || said.protocol != right.protocol ||
      said.worker != worker.id ||
      said.build_id_bytes != std::min(build.size(), sizeof said.build_id) ||
      std::memcmp(said.build_id, build.data(), said.build_id_bytes) != 0) {
    worker.start_failure = plain_failure(
        errc::version_mismatch, task_ran::no,
        "a worker of " + core_.title() + " (pid " + std::to_string(worker.pid) +
            ") is not the program that started it: was the executable replaced while it ran?");
    kill_worker(worker, "it is another build");
    return;
  }
  if (worker.pid == 0) {
    // Nobody must see a ready worker with the pid 0: signals sent there go to the own group.
    worker.pid = said.pid;
  }
  worker.greeted = true;
}

void supervisor::service(worker_record& worker) {
  supervisor_channel& channel = *worker.channel;
  worker.blocked = false;
  dispatch_due_ = true;
  bool read_empty = false;
  for (int round = 0;; ++round) {
    if (!read_empty) {
      read_empty = channel.read_socket();
    }
    if (!worker.greeted) {
      greet(worker);
    }
    if (worker.greeted) {
      frame_header header;
      std::span<const std::byte> payload;
      int frames = 0;
      while (frames < max_frames_per_turn && channel.next_frame(header, payload)) {
        on_frame(worker, header, payload);
        ++frames;
      }
      channel.finish_reading();
      if (frames > 0) {
        worker.last_progress = core_.host().now();
        if (options_.max_worker_rss) {
          check_memory(worker);
        }
      }
    }
    if (channel.state() != channel_state::open || (read_empty && channel.arm())) {
      break;
    }
    if (round == 3) {
      core_.tell(supervisor_message::channel_ready, worker.id);
      break;
    }
  }
  if (channel.state() == channel_state::broken) {
    kill_worker(worker, channel.what_broke());
  } else if (channel.state() == channel_state::closed && !worker.leaving) {
    // Its end of file without its end: the exit is on its way, or the task closed what is not its
    // own. Let that task finish; the worker leaves when it finds its channel gone.
    worker.leaving = true;
    core_.host().unwatch(channel.socket());
    take_back(worker);
    if (worker.phase != worker_phase::stopping &&
        (worker.sent.empty() || worker.phase == worker_phase::starting)) {
      kill_worker(worker, "its channel was closed");
    }
  }
  retire_drained();
}

void supervisor::on_frame(worker_record& worker, const frame_header& header,
                          std::span<const std::byte> payload) {
  switch (header.kind) {
    case frame_kind::ready:
      if (worker.phase == worker_phase::starting) {
        worker.phase = worker_phase::ready;
        worker.last_progress = core_.host().now();
        history_.record_start();
        starts_refused_ = 0;
        count_ready();
        if (options_.max_worker_age) {
          set_timer(later(worker.last_progress, *options_.max_worker_age), timer::age,
                    {worker.id, 0});
        }
        if (state_ == state::starting) {
          const bool all = std::all_of(ring_.begin(), ring_.end(), [](const worker_record* w) {
            return w->phase != worker_phase::starting;
          });
          if (all && static_cast<int>(ring_.size()) == target_) {
            state_ = state::open;
            core_.note_started();
          }
        } else {
          shed_surplus();
        }
      }
      return;
    case frame_kind::init_failed:
      try {
        const std::vector<std::byte> copy{payload.begin(), payload.end()};
        worker.start_failure = std::make_shared<const failure>(decode<failure>(copy));
      } catch (const error&) {
        worker.channel->break_channel("its initializer's failure cannot be read");
      }
      return;
    case frame_kind::began:
      on_begin(worker, header.number);
      return;
    case frame_kind::result:
      on_result(worker, header, payload);
      return;
    case frame_kind::progress:
      on_progress(worker, header.number, payload);
      return;
    case frame_kind::submit:
      on_submit(worker, header, payload);
      return;
    default:
      worker.channel->break_channel("it sent a frame of an unknown kind");
      return;
  }
}

void supervisor::on_progress(worker_record& worker, std::uint64_t number,
                             std::span<const std::byte> payload) {
  progress_header header;
  if (!take_front(payload, header) || payload.size() > max_progress_text) {
    worker.channel->break_channel("it sent a report of progress of a wrong size");
    return;
  }
  for (const sent_range& sent : worker.sent) {
    if (sent.what.work && number >= sent.number + sent.done &&
        number < sent.number + sent.what.count) {
      sent.what.work->report(
          {header.done, header.total,
           std::string{reinterpret_cast<const char*>(payload.data()), payload.size()}});
      return;
    }
  }
}

sent_range* supervisor::find_sent(worker_record& worker, std::uint64_t number) const {
  if (worker.sent.empty()) {
    return nullptr;
  }
  sent_range& front = worker.sent.front();
  if (front.number + front.done == number) {
    return &front;
  }
  // Only where each item has a place of its own is one begun before those in front of it have
  // ended.
  if (concurrency() == 1 || number >= worker.channel->undecided()) {
    return nullptr;
  }
  const auto found = std::lower_bound(
      worker.sent.begin(), worker.sent.end(), number,
      [](const sent_range& sent, std::uint64_t wanted) { return sent.number < wanted; });
  return found != worker.sent.end() && found->number == number && found->what.work ? &*found
                                                                                   : nullptr;
}

void supervisor::finish_item(worker_record& worker, sent_range& sent) {
  if (++sent.done < sent.what.count) {
    return;
  }
  sent.what.work.reset();
  while (!worker.sent.empty() && !worker.sent.front().what.work) {
    worker.sent.pop_front();
  }
  while (!worker.sent.empty() && !worker.sent.back().what.work) {
    worker.sent.pop_back();
  }
}

void supervisor::on_begin(worker_record& worker, std::uint64_t number) {
  const sent_range* const begun = find_sent(worker, number);
  if (begun == nullptr) {
    return;  // it was taken back or is long done
  }
  const process_submission& work = *begun->what.work;
  if (!work.options().timeout) {
    return;
  }
  const auto limit = later(core_.host().now(), *work.options().timeout);
  if (limit != steady_time::max()) {
    worker.deadlines[number] = limit;
    watch_limit(worker, limit);
  }
}

void supervisor::on_result(worker_record& worker, const frame_header& header,
                           std::span<const std::byte> payload) {
  sent_range* const sent = find_sent(worker, header.number);
  if (sent == nullptr) {
    worker.channel->break_channel("it sent a result for a task it does not have");
    return;
  }
  process_submission* const work = sent->what.work.get();  // kept by `sent`, which goes last
  const std::uint32_t item = sent->what.first + sent->done;
  result_timing timing;
  if ((header.flags & result_timed) != 0) {
    if (!take_front(payload, timing)) {
      worker.channel->break_channel("it sent a result that is too short");
      return;
    }
    if (timing.items > 0) {
      const double mean =
          static_cast<double>(timing.nanoseconds) / static_cast<double>(timing.items);
      worker.mean_task_ns = worker.measured ? worker.mean_task_ns * 0.75 + mean * 0.25 : mean;
      worker.measured = true;
      core_.note_task_time(worker.mean_task_ns);
      work->run_nanoseconds += timing.nanoseconds;
      work->run_items += timing.items;
    }
  }
  attachment_list attachments;
  std::shared_ptr<const foreign_payload> in_memory;
  std::shared_ptr<failure> lost;  // what the result refers to
  try {
    if ((header.flags & result_in_segment) != 0) {
      segment_reference where;
      if (!take_front(payload, where)) {
        worker.channel->break_channel("it sent a reference that is too short");
        return;
      }
      in_memory = worker.channel->open_payload(where, header.number);
    }
    if ((header.flags & result_has_attachments) != 0) {
      attachments = worker.channel->take_attachments(header.number);
    }
  } catch (const error& problem) {
    if (problem.code() != errc::resource_exhausted) {
      worker.channel->break_channel(problem.what());
      return;
    }
    lost = std::make_shared<failure>(capture_failure(std::current_exception()));
    lost->text = "the result of " + work->name() + " is lost: " + lost->text;
    lost->ran = task_ran::yes;
    lost->task = work->number;
    lost->attempt = sent->what.attempt;
  }
  if (lost || (header.flags & result_failed) != 0) {
    worker.channel->abandon(header.number);  // a result that failed may have sent some of it
  } else {
    worker.channel->done_with(header.number);
  }
  const auto stopped = worker.stop_reasons.empty() ? worker.stop_reasons.end()
                                                   : worker.stop_reasons.find(header.number);
  if (stopped != worker.stop_reasons.end() && stopped->second != stop_reason::cancelled) {
    // It ended within the grace time, but the limit had passed: the answer is the same either way.
    auto late = plain_failure(errc::timeout, task_ran::yes, overrun(*work, stopped->second));
    late->task = work->number;
    late->attempt = sent->what.attempt;
    late->pid = worker.pid;
    conclude(sent->what, item, std::move(late));
  } else if (lost) {
    conclude(sent->what, item, std::move(lost));
  } else if (in_memory) {
    if (!attachments.empty()) {
      work->add_result_attachments(std::move(attachments));
    }
    work->store_payload(item, std::move(in_memory));
    settle_value(*work);
  } else if ((header.flags & result_failed) != 0) {
    try {
      // Copied first: the worker could still change what the codec is reading.
      const std::vector<std::byte> copy{payload.begin(), payload.end()};
      auto why = decode<failure>(copy);
      why.task = work->number;
      why.attempt = sent->what.attempt;
      if (why.code == errc::cancelled) {
        why.text = work->name() + " was cancelled while it ran: it stopped";
      }
      conclude(sent->what, item, std::make_shared<const failure>(std::move(why)));
    } catch (const error&) {
      worker.channel->break_channel("it sent a failure that cannot be read");
      return;
    }
  } else {
    if (!attachments.empty()) {
      work->add_result_attachments(std::move(attachments));
    }
    work->store_value(item, payload);
    settle_value(*work);
  }
  if (stopped != worker.stop_reasons.end()) {
    worker.stop_reasons.erase(stopped);
  }
  if (!worker.deadlines.empty()) {
    worker.deadlines.erase(header.number);
  }
  if (!worker.stops.empty()) {
    worker.stops.erase(header.number);
  }
  --worker.outstanding;
  --outstanding_;
  finish_item(worker, *sent);
}

}  // namespace troupe::detail
