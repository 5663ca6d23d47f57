// SPDX-License-Identifier: BSD-3-Clause
#include "pools/supervisor/worker_reader.hpp"

#include "troupe/codec.hpp"
#include "troupe/detail/code_address.hpp"
#include "troupe/log.hpp"
#include "troupe/progress.hpp"

#include "pools/workers/loss_report.hpp"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace troupe::detail {
namespace {

/// Frames read from one worker in a round, so that a busy worker does not hold up the others.
constexpr int max_frames_per_turn = 4096;
/// Rounds of one turn; the rest is left to a later turn.
constexpr int max_rounds_per_turn = 4;

/// The failure that a frame holds.
///
/// @throws error{protocol_error}.
failure decode_failure(std::span<const std::byte> payload) {
  // Copied first: the worker could change the bytes while the codec reads them.
  const std::vector<std::byte> copy{payload.begin(), payload.end()};
  return decode<failure>(copy);
}

/// A result frame taken apart.
struct arrived_result {
  result_timing timing;
  attachment_list attachments;
  std::shared_ptr<const foreign_payload> in_memory;
  std::span<const std::byte> bytes;
};

/// @throws error{protocol_error}; error{resource_exhausted} if a descriptor of it is missing.
arrived_result take_apart(supervisor_channel& channel, const frame_header& header,
                          std::span<const std::byte> payload) {
  arrived_result result;
  if ((header.flags & result_in_segment) != 0) {
    segment_reference where;
    if (!take_front(payload, where)) {
      throw error{errc::protocol_error, task_ran::maybe, "it sent a reference that is too short"};
    }
    result.in_memory = channel.open_payload(where, header.number);
  }
  if ((header.flags & result_has_attachments) != 0) {
    result.attachments = channel.take_attachments(header.number);
  }
  result.bytes = payload;
  return result;
}

}  // namespace

void worker_reader::greet(worker_record& worker) {
  const std::string text = worker.channel->take_hello();
  if (text.empty()) {
    return;
  }
  constexpr std::string_view exec_failed = "exec failed:";
  if (text.starts_with(exec_failed)) {
    const int code = std::atoi(text.c_str() + exec_failed.size());
    worker.notes.start_failure =
        plain_failure(errc::spawn_failed, task_ran::no,
                      "cannot execute this program again for a worker of " + state_.face.title() +
                          ": " + std::strerror(code) + " (errno " + std::to_string(code) + ")");
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
    worker.notes.start_failure = plain_failure(
        errc::version_mismatch, task_ran::no,
        "a worker of " + state_.face.title() + " (pid " + std::to_string(worker.pid) +
            ") is not the program that started it: was the executable replaced while it ran?");
    control_.kill(worker, "it is another build");
    return;
  }
  if (worker.pid == 0) {
    // A ready worker must not have the pid 0: signals to that go to the own process group.
    worker.pid = said.pid;
  }
  worker.greeted = true;
}

void worker_reader::read_frames(worker_record& worker) {
  frame_header header;
  std::span<const std::byte> payload;
  int frames = 0;
  while (frames < max_frames_per_turn && worker.channel->next_frame(header, payload)) {
    on_frame(worker, header, payload);
    ++frames;
  }
  worker.channel->finish_reading();
  if (frames > 0) {
    worker.pace.last_progress = state_.now();
    worker.pace.stalled = false;
    fleet_.check_memory(worker);
  }
}

void worker_reader::service(worker_record& worker) {
  supervisor_channel& channel = *worker.channel;
  dispatcher_.unblock(worker);
  bool read_empty = false;
  for (int round = 1;; ++round) {
    if (!read_empty) {
      read_empty = channel.read_socket();
    }
    if (const auto sender = channel.take_sigterm()) {
      log(log_level::info, "worker " + std::to_string(worker.id) + " (pid " +
                               std::to_string(worker.pid) + ") of " + state_.face.title() +
                               " got a SIGTERM of process " + std::to_string(*sender) +
                               ", and goes on: only its program ends it by SIGTERM");
    }
    if (!worker.greeted) {
      greet(worker);
    }
    if (worker.greeted) {
      read_frames(worker);
    }
    if (channel.state() != channel_state::open || (read_empty && channel.arm())) {
      break;
    }
    if (read_empty && !worker.greeted) {
      break;  // its frames wait for a hello, which wakes the supervisor, or for its end
    }
    if (round == max_rounds_per_turn) {
      state_.face.tell(channel_ready{worker.id});
      break;
    }
  }
  if (channel.state() == channel_state::broken) {
    control_.kill(worker, channel.what_broke());
  } else if (channel.state() == channel_state::closed && !worker.leaving) {
    on_closed(worker);
  }
  fleet_.retire_drained();
}

void worker_reader::on_closed(worker_record& worker) {
  // End of file without an exit: the exit will be told, or a task has closed the channel's socket.
  // That task may finish; the worker leaves when it finds its channel closed.
  state_.host.unwatch(worker.channel->socket());
  control_.abandon(worker);
  if (worker.phase != worker_phase::stopping &&
      (worker.sent.empty() || worker.phase == worker_phase::starting)) {
    control_.kill(worker, "its channel was closed");
  }
}

void worker_reader::on_frame(worker_record& worker, const frame_header& header,
                             std::span<const std::byte> payload) {
  switch (header.kind) {
    case frame_kind::ready:
      if (worker.phase == worker_phase::starting) {
        fleet_.on_ready(worker);
      }
      return;
    case frame_kind::init_failed:
      on_init_failed(worker, payload);
      return;
    case frame_kind::began:
      on_began(worker, header.number);
      return;
    case frame_kind::result:
      on_result(worker, header, payload);
      return;
    case frame_kind::progress:
      on_progress(worker, header.number, payload);
      return;
    case frame_kind::submit:
      nested_.on_submit(worker, header, payload);
      return;
    default:
      worker.channel->break_channel("it sent a frame of an unknown kind");
      return;
  }
}

void worker_reader::on_init_failed(worker_record& worker, std::span<const std::byte> payload) {
  try {
    worker.notes.start_failure = std::make_shared<const failure>(decode_failure(payload));
  } catch (const error&) {
    worker.channel->break_channel("its initializer's failure cannot be read");
  }
}

void worker_reader::on_progress(worker_record& worker, std::uint64_t number,
                                std::span<const std::byte> payload) {
  progress_header header;
  if (!take_front(payload, header) || payload.size() > max_progress_text) {
    worker.channel->break_channel("it sent a report of progress of a wrong size");
    return;
  }
  for (const sent_range& sent : worker.sent.all()) {
    if (sent.what.work && number >= sent.next_number() && number < sent.number + sent.what.count) {
      sent.what.work->report(
          {header.done, header.total,
           std::string{reinterpret_cast<const char*>(payload.data()), payload.size()}});
      return;
    }
  }
}

sent_range* worker_reader::find_sent(worker_record& worker, std::uint64_t number) const {
  return worker.sent.find(number, state_.concurrency() > 1, worker.channel->undecided());
}

void worker_reader::on_began(worker_record& worker, std::uint64_t number) {
  // None: it was taken back, or has its outcome.
  if (const sent_range* const begun = find_sent(worker, number)) {
    stopper_.on_begin(worker, number, *begun->what.work);
  }
}

std::shared_ptr<failure> worker_reader::read_failure(worker_record& worker,
                                                     const process_submission& work,
                                                     std::span<const std::byte> bytes) {
  try {
    if (bytes.size() > max_failure_bytes) {
      throw error{errc::protocol_error, task_ran::maybe, "it is too long"};
    }
    auto why = std::make_shared<failure>(decode_failure(bytes));
    if (why->code == errc::cancelled) {
      why->text = work.name() + " was cancelled while it ran: it stopped";
    }
    return why;
  } catch (const error&) {
    worker.channel->break_channel("it sent a failure that cannot be read");
    return nullptr;
  }
}

void worker_reader::on_result(worker_record& worker, const frame_header& header,
                              std::span<const std::byte> payload) {
  sent_range* const sent = find_sent(worker, header.number);
  if (sent == nullptr) {
    worker.channel->break_channel("it sent a result for a task it does not have");
    return;
  }
  process_submission& work = *sent->what.work;  // kept by `sent`, which goes last
  const std::uint32_t item = sent->what.first + sent->done;
  result_timing timing;
  if ((header.flags & result_timed) != 0) {
    if (!take_front(payload, timing)) {
      worker.channel->break_channel("it sent a result that is too short");
      return;
    }
    if (timing.items > 0) {
      worker.pace.measure(static_cast<double>(timing.nanoseconds) /
                          static_cast<double>(timing.items));
      state_.face.note_task_time(worker.pace.mean_task_ns);
      work.run_nanoseconds += timing.nanoseconds;
      work.run_items += timing.items;
    }
  }
  arrived_result result;
  std::shared_ptr<failure> failed;
  bool lost = false;  // an attachment of the result is missing
  try {
    result = take_apart(*worker.channel, header, payload);
  } catch (const error& problem) {
    if (problem.code() != errc::resource_exhausted) {
      worker.channel->break_channel(problem.what());
      return;
    }
    lost = true;
    failed = std::make_shared<failure>(capture_failure(std::current_exception()));
    failed->text = "the result of " + work.name() + " is lost: " + failed->text;
    failed->ran = task_ran::yes;
  }
  if (!lost && (header.flags & result_failed) != 0) {
    failed = read_failure(worker, work,
                          result.in_memory ? result.in_memory->bytes() : result.bytes);
    if (!failed) {
      return;
    }
  }
  if (lost || (header.flags & result_failed) != 0) {
    worker.channel->abandon(header.number);  // attachments of a result that could not be sent whole
  } else {
    worker.channel->done_with(header.number);
  }
  const stop_reason* const stopped = worker.stops.reason(header.number);
  if (stopped != nullptr && *stopped != stop_reason::cancelled) {
    // The task ended within the grace time, after its limit had passed: it fails all the same.
    failed = plain_failure(errc::timeout, task_ran::yes, overrun(work, *stopped));
    failed->pid = worker.pid;
  }
  --state_.counts.running;  // before the outcome, whose reader may look at the numbers
  if (failed) {
    failed->task = work.number;
    failed->attempt = sent->what.attempt.number;
    ledger_.conclude(sent->what, item, std::move(failed));
  } else {
    if (!result.attachments.empty()) {
      work.add_result_attachments(std::move(result.attachments));
    }
    if (result.in_memory) {
      ledger_.settle_payload(work, item, std::move(result.in_memory));
    } else {
      ledger_.settle_value(work, item, result.bytes);
    }
  }
  stopper_.on_end(worker, header.number);
  worker.sent.finish_item(*sent);
}

}  // namespace troupe::detail
