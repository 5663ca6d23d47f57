// SPDX-License-Identifier: BSD-3-Clause

// Workers come, speak, and go.

#include "troupe/codec.hpp"
#include "troupe/detail/callable.hpp"
#include "troupe/detail/failpoint.hpp"
#include "troupe/log.hpp"

#include "supervisor_actor.hpp"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <utility>

namespace troupe::detail {
namespace {

/// A round of reading stops here, so that one busy worker does not keep the others waiting.
constexpr int max_frames_per_turn = 4096;

std::shared_ptr<failure> plain_failure(errc code, task_ran ran, std::string text) {
  auto made = std::make_shared<failure>();
  made->code = code;
  made->ran = ran;
  made->text = std::move(text);
  return made;
}

bool is_transient(int code) {
  return code == EAGAIN || code == ENOMEM || code == EMFILE || code == ENFILE || code == ESRCH;
}

}  // namespace

worker_record* supervisor::find(std::uint64_t id) {
  const auto found = workers_.find(id);
  return found == workers_.end() ? nullptr : found->second.get();
}

void supervisor::launch_worker() {
  auto made = std::make_unique<worker_record>();
  try {
    made->channel = std::make_unique<supervisor_channel>();
    made->id = core_.owner().enroll(core_.shared_from_this());
    std::byte* const room = made->channel->begin_frame(configuration_.size());
    if (room == nullptr) {
      throw error{errc::payload_too_large, task_ran::no,
                  "the initializer's arguments take " + std::to_string(configuration_.size()) +
                      " bytes, the limit is " + std::to_string(max_frame_bytes) +
                      ": pass a file name or a shared object instead"};
    }
    std::memcpy(room, configuration_.data(), configuration_.size());
    if (!configuration_cargo_.empty()) {
      made->channel->send_cargo(0, configuration_cargo_);
    }
    made->channel->publish({static_cast<std::uint32_t>(configuration_.size()),
                            frame_kind::configure,
                            configuration_cargo_.empty() ? std::uint16_t{0} : has_cargo, 0});
    made->channel->arm();
    core_.owner().loop().watch(made->channel->socket(),
                               [weak = core_.weak_from_this(), id = made->id] {
                                 if (const auto core = weak.lock()) {
                                   core->tell(supervisor_message::channel_ready, id);
                                 }
                               });
  } catch (const error&) {
    if (made->id != 0) {
      core_.owner().dismiss(made->id);
    }
    failed_start(std::make_shared<const failure>(capture_failure(std::current_exception())), true);
    return;
  }
  const std::uint64_t id = made->id;
  channel_ends ends = made->channel->take_far_ends();
  if (options_.capture_stderr) {
    ends.errors = core_.owner().errors().open(
        id, static_cast<std::size_t>(options_.workers) -
                std::min(ring_.size(), static_cast<std::size_t>(options_.workers)));
  }
  ring_.push_back(made.get());
  workers_.emplace(id, std::move(made));
  set_timer(later(std::chrono::steady_clock::now(), options_.start_timeout), timer::start_limit,
            {id, 0});
  core_.owner().processes().launch(id, method_, std::move(ends));
}

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
    condemn(worker, "it is another build");
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
  for (int round = 0;; ++round) {
    if (round == 0) {
      channel.read_socket();
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
        worker.last_progress = std::chrono::steady_clock::now();
        if (options_.max_worker_rss) {
          check_memory(worker);
        }
      }
    }
    if (channel.state() != channel_state::open || channel.arm()) {
      break;
    }
    if (round == 3) {
      core_.tell(supervisor_message::channel_ready, worker.id);
      break;
    }
  }
  if (channel.state() == channel_state::broken) {
    condemn(worker, channel.what_broke());
  } else if (channel.state() == channel_state::closed && !worker.leaving) {
    // Its end of file without its end: the exit is on its way, or the task closed what is not its
    // own. Let that task finish; the worker leaves when it finds its channel gone.
    worker.leaving = true;
    core_.owner().loop().forget(channel.socket());
    take_back(worker);
    if (worker.phase != worker_phase::stopping &&
        (worker.sent.empty() || worker.phase == worker_phase::starting)) {
      condemn(worker, "its channel was closed");
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
        worker.last_progress = std::chrono::steady_clock::now();
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
  for (const sent_slice& sent : worker.sent) {
    if (sent.what.work && number >= sent.number + sent.done &&
        number < sent.number + sent.what.count) {
      sent.what.work->report(
          {header.done, header.total,
           std::string{reinterpret_cast<const char*>(payload.data()), payload.size()}});
      return;
    }
  }
}

sent_slice* supervisor::find_sent(worker_record& worker, std::uint64_t number) const {
  if (worker.sent.empty()) {
    return nullptr;
  }
  sent_slice& front = worker.sent.front();
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
      [](const sent_slice& sent, std::uint64_t wanted) { return sent.number < wanted; });
  return found != worker.sent.end() && found->number == number && found->what.work ? &*found
                                                                                   : nullptr;
}

void supervisor::finish_item(worker_record& worker, sent_slice& sent) {
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
  const sent_slice* const begun = find_sent(worker, number);
  if (begun == nullptr) {
    return;  // it was taken back or is long done
  }
  const job& work = *begun->what.work;
  if (!work.options().timeout) {
    return;
  }
  const auto limit = later(std::chrono::steady_clock::now(), *work.options().timeout);
  if (limit != steady_time::max()) {
    worker.deadlines[number] = limit;
    watch_limit(worker, limit);
  }
}

void supervisor::on_result(worker_record& worker, const frame_header& header,
                           std::span<const std::byte> payload) {
  sent_slice* const sent = find_sent(worker, header.number);
  if (sent == nullptr) {
    worker.channel->break_channel("it sent a result for a task it does not have");
    return;
  }
  job* const work = sent->what.work.get();  // kept by `sent`, which goes last
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
  cargo_list cargo;
  if ((header.flags & result_has_cargo) != 0) {
    try {
      cargo = worker.channel->take_cargo(header.number);
    } catch (const error& problem) {
      worker.channel->break_channel(problem.what());
      return;
    }
  }
  const auto doomed = worker.dooms.empty() ? worker.dooms.end() : worker.dooms.find(header.number);
  if (doomed != worker.dooms.end() && doomed->second != doom::cancelled) {
    // It ended within the grace time, but the limit had passed: the answer is the same either way.
    auto late = plain_failure(errc::timeout, task_ran::yes, overrun(*work, doomed->second));
    late->task = work->number;
    late->attempt = sent->what.attempt;
    late->pid = worker.pid;
    conclude(sent->what, item, std::move(late));
  } else if ((header.flags & result_in_segment) != 0) {
    segment_reference where;
    if (!take_front(payload, where)) {
      worker.channel->break_channel("it sent a reference that is too short");
      return;
    }
    try {
      auto value = worker.channel->open_payload(where);
      if (!cargo.empty()) {
        work->add_result_cargo(std::move(cargo));
      }
      work->store_payload(item, std::move(value));
      settle_value(*work);
    } catch (const error& problem) {
      if (problem.code() == errc::protocol_error) {
        worker.channel->break_channel(problem.what());
        return;
      }
      settle_failure(*work, item,
                     std::make_shared<const failure>(capture_failure(std::current_exception())));
    }
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
    if (!cargo.empty()) {
      work->add_result_cargo(std::move(cargo));
    }
    work->store_value(item, payload);
    settle_value(*work);
  }
  if (doomed != worker.dooms.end()) {
    worker.dooms.erase(doomed);
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

void supervisor::condemn(worker_record& worker, std::string note) {
  if (worker.kill_note.empty()) {
    worker.kill_note = std::move(note);
  }
  if (!worker.leaving) {
    worker.leaving = true;
    unbind(worker);
    ++killed_;
    take_back(worker);
    count_ready();
  }
  core_.owner().processes().kill(worker.id, SIGKILL);
}

void supervisor::settle_after_death(worker_record& worker, const exit_notice& notice, bool counts) {
  // What it published before its end counts, and then the claim word says exactly what it had
  // begun.
  worker.leaving = true;
  service(worker);
  orphan(worker);
  unbind(worker);
  take_back(worker);
  if (counts && worker.ended_for == 0) {
    // Before anybody hears of it.
    ++stats_.deaths;
    // A task that may be tried again answers for its own attempts: it is bounded by their number.
    if (worker.sent.empty() ||
        std::any_of(worker.sent.begin(), worker.sent.end(), [](const sent_slice& sent) {
          return sent.what.work && sent.what.work->options().retries == 0;
        })) {
      history_.record_death(std::chrono::steady_clock::now());
    }
  }
  while (!worker.sent.empty()) {
    sent_slice sent = std::move(worker.sent.front());
    worker.sent.pop_front();
    if (worker.ended_for != 0 && !worker.dooms.contains(sent.number + sent.done)) {
      ++sent.what.forgiven;  // a neighbour had to be ended
    }
    for (std::uint32_t done = sent.done; done < sent.what.count; ++done) {
      const std::uint32_t item = sent.what.first + done;
      --worker.outstanding;
      --outstanding_;
      failure loss = loss_of(worker, sent, item, notice);
      if (loss.code == errc::worker_lost) {
        loss.attempts = {end_of_attempt(loss)};
      }
      conclude(sent.what, item, std::make_shared<const failure>(std::move(loss)));
    }
  }
  dispatch_due_ = true;
}

void supervisor::on_exit(std::uint64_t id, const exit_notice& notice) {
  worker_record* const worker = find(id);
  if (worker == nullptr) {
    return;
  }
  if (worker->pid == 0) {
    worker->pid = notice.pid;
  }
  const worker_phase phase = worker->phase;
  const bool counts = phase != worker_phase::stopping && phase != worker_phase::starting &&
                      state_ != state::broken && state_ != state::terminating;
  settle_after_death(*worker, notice, counts);
  const std::shared_ptr<const failure> start_failure = worker->start_failure;
  const std::string note = worker->kill_note;
  const bool surplus = worker->retiring_for == retirement::surplus;
  const bool recycled =
      !surplus && (worker->retiring_for != retirement::none || worker->assigned >= task_limit());
  const std::int64_t pid = worker->pid;
  auto crash = worker->channel->crash();
  const bool ended_for_task = worker->ended_for != 0;
  forget_worker(id);
  if (phase == worker_phase::stopping) {
    stats_.recycled += recycled ? 1 : 0;
    stats_.retired += surplus ? 1 : 0;
  } else if (state_ == state::broken || state_ == state::terminating) {
    // On its way out with the pool.
  } else if (phase == worker_phase::starting) {
    const auto why = start_failure ? start_failure : end_of_start(pid, notice, std::move(crash));
    failed_start(why, false);
  } else if (!ended_for_task) {
    const auto now = std::chrono::steady_clock::now();
    log(log_level::info, "worker " + std::to_string(id) + " (pid " + std::to_string(pid) + ") of " +
                             core_.title() + " died" + (note.empty() ? "" : ": " + note));
    if (decide(options_.restart, history_, now).give_up) {
      break_pool(std::to_string(options_.restart.intensity + 1) + " workers died within " +
                 std::to_string(options_.restart.period.count()) +
                 " ms (see pool_options::restart); the last one was pid " + std::to_string(pid));
    }
  }
  maintain();
  retire_drained();
}

void supervisor::on_start_failed(std::uint64_t id, int code) {
  worker_record* const worker = find(id);
  if (worker == nullptr) {
    return;
  }
  const bool unwanted = worker->phase == worker_phase::stopping;
  const bool surplus = worker->retiring_for == retirement::surplus;
  forget_worker(id);
  if (unwanted) {
    // Killed before it was forked: not needed any more, which is no failure.
    stats_.retired += surplus ? 1 : 0;
    maintain();
    retire_drained();
    return;
  }
  failed_start(plain_failure(errc::spawn_failed, task_ran::no,
                             "cannot start a worker of " + core_.title() + ": " +
                                 std::strerror(code) + " (errno " + std::to_string(code) + ")"),
               is_transient(code));
}

void supervisor::failed_start(std::shared_ptr<const failure> why, bool transient) {
  if (state_ == state::starting) {
    abandon_start(std::move(why));
    return;
  }
  if (state_ != state::open && state_ != state::closing) {
    return;
  }
  const auto now = std::chrono::steady_clock::now();
  restart_decision decision;
  if (transient) {
    // The system is short of something: that passes, and tasks wait meanwhile.
    const int doublings = std::min(starts_refused_++, 20);
    decision.delay =
        std::min(options_.restart.max_backoff, options_.restart.backoff * (1 << doublings));
  } else {
    history_.record_failed_start();
    decision = decide(options_.restart, history_, now);
  }
  log(log_level::warning, why->text);
  if (decision.give_up) {
    break_pool("a replacement could not be started " + std::to_string(history_.failed_starts()) +
               " times in a row: " + why->text);
    return;
  }
  if (!relaunch_at_) {
    relaunch_at_ = now + decision.delay;
    set_timer(*relaunch_at_, timer::relaunch);
  }
}

void supervisor::forget_worker(std::uint64_t id) {
  worker_record* const worker = find(id);
  core_.owner().loop().forget(worker->channel->socket());
  core_.owner().dismiss(id);
  unbind(*worker);
  std::erase(ring_, worker);
  cursor_ = 0;
  workers_.erase(id);
  count_ready();
}

void supervisor::stop_worker(worker_record& worker) {
  worker.phase = worker_phase::stopping;
  unbind(worker);
  // Nothing is outstanding, so the ring has room.
  if (worker.channel->begin_frame(0) != nullptr) {
    worker.channel->publish({0, frame_kind::stop, 0, 0});
    worker.channel->ring_bell();
    set_timer(later(std::chrono::steady_clock::now(), options_.grace), timer::worker_grace,
              {worker.id, 0});
  } else {
    condemn(worker, "it could not be told to stop");
  }
}

void supervisor::stop_workers() {
  for (const auto& [id, worker] : workers_) {
    if (worker->phase == worker_phase::starting) {
      worker->phase = worker_phase::stopping;
      condemn(*worker, "it is not needed any more");
    } else if (worker->phase != worker_phase::stopping) {
      stop_worker(*worker);
    }
  }
}

}  // namespace troupe::detail
