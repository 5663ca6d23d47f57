// SPDX-License-Identifier: BSD-3-Clause

// Tasks find workers: queues, windows, and taking back what has not begun.

#include "os/shortage.hpp"
#include "pools/process/supervisor_actor.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

namespace troupe::detail {
namespace {

using namespace std::chrono_literals;

/// A worker that has tasks waiting behind a running one for longer than this gives them up as soon
/// as another worker has nothing to do.
constexpr auto patience = 1ms;

/// How long the first task that no descriptor can be sent for waits for others to receive theirs.
constexpr auto shortage_patience = 50ms;

/// The length at `part`, and the bytes that stand behind it.
std::uint32_t part_length(const char* part, std::uint32_t& stored) {
  std::uint32_t length = 0;
  std::memcpy(&length, part, sizeof length);
  stored = length == in_segment ? static_cast<std::uint32_t>(sizeof(segment_reference)) : length;
  return length;
}

}  // namespace

std::chrono::milliseconds supervisor::grace_of(const process_submission& work) const {
  return work.options().grace.value_or(options_.grace);
}

void supervisor::enqueue(task_range what) {
  queued_ += what.count;
  queue_[what.work->options().priority].push_back(std::move(what));
}

void supervisor::enqueue_front(std::vector<task_range> returned) {
  for (auto it = returned.rbegin(); it != returned.rend(); ++it) {
    queued_ += it->count;
    core_.note_requeued(it->count);
    queue_[it->work->options().priority].push_front(std::move(*it));
  }
}

task_range* supervisor::next_range() {
  while (!queue_.empty()) {
    auto& [priority, waiting] = *queue_.begin();
    while (!waiting.empty()) {
      task_range& front = waiting.front();
      if (front.work->done() || front.work->decided(front.first)) {
        // Cancelled while it waited; its tasks were counted out then.
        waiting.pop_front();
        continue;
      }
      worker_record* const bound = bound_worker(*front.work);
      if (bound == nullptr) {
        return &front;
      }
      const auto later_one = std::find_if(bound->own.begin(), bound->own.end(),
                                          [least = priority](const task_range& other) {
                                            return other.work->options().priority < least;
                                          });
      bound->own.insert(later_one, std::move(front));
      waiting.pop_front();
    }
    queue_.erase(queue_.begin());
  }
  return nullptr;
}

worker_record* supervisor::bound_worker(const process_submission& work) {
  const std::string& key = work.options().affinity;
  if (key.empty() || bound_.empty()) {
    return nullptr;
  }
  const auto found = bound_.find(key);
  if (found == bound_.end()) {
    return nullptr;
  }
  worker_record* const worker = find(found->second);
  return worker != nullptr && worker->usable() ? worker : nullptr;
}

void supervisor::unbind(worker_record& worker) {
  std::erase_if(bound_, [&](const auto& one) { return one.second == worker.id; });
  for (auto it = worker.own.rbegin(); it != worker.own.rend(); ++it) {
    queue_[it->work->options().priority].push_front(std::move(*it));
    dispatch_due_ = true;
  }
  worker.own.clear();
}

void supervisor::each_queue(const std::function<void(std::deque<task_range>&)>& visit) {
  for (auto& [priority, waiting] : queue_) {
    visit(waiting);
  }
  for (worker_record* worker : ring_) {
    visit(worker->own);
  }
}

bool supervisor::has_room(const worker_record& worker) const {
  if (!worker.usable() || worker.blocked || worker.assigned >= task_limit() ||
      !worker.children.empty()) {
    return false;
  }
  if (concurrency() > 1 && !worker.stop_reasons.empty()) {
    return false;  // what began there now could be lost with the one that has to end
  }
  const auto mean = std::chrono::nanoseconds{static_cast<std::int64_t>(worker.mean_task_ns)};
  if (worker.outstanding < concurrency()) {
    return true;
  }
  // Behind a task that takes long others would wait for nothing: they stay here until it ends.
  return turn_begun_ - worker.last_progress < patience &&
         worker.outstanding < window_for(mean, worker.measured);
}

bool supervisor::send_own() {
  if (bound_.empty()) {
    return false;
  }
  bool sent = false;
  for (worker_record* worker : ring_) {
    while (!worker->own.empty() && has_room(*worker)) {
      task_range& front = worker->own.front();
      if (front.work->done() || front.work->decided(front.first)) {
        worker->own.pop_front();
        continue;
      }
      if (!queue_.empty() && queue_.begin()->first > front.work->options().priority) {
        break;
      }
      if (!send(*worker, front)) {
        break;
      }
      sent = true;
      if (front.count == 0) {
        worker->own.pop_front();
      }
    }
  }
  return sent;
}

worker_record* supervisor::pick_worker() {
  worker_record* best = nullptr;
  const std::size_t n = ring_.size();
  for (std::size_t i = 0; i < n; ++i) {
    const std::size_t at = cursor_ + i < n ? cursor_ + i : cursor_ + i - n;
    worker_record* const worker = ring_[at];
    if (!has_room(*worker)) {
      continue;
    }
    if (worker->outstanding == 0) {
      // The one used last comes first: its caches are warm, and its core is awake (a round trip
      // costs 19 us instead of 23 and more).
      cursor_ = at;
      return worker;
    }
    if (best == nullptr || worker->outstanding < best->outstanding) {
      best = worker;
    }
  }
  return best;
}

int supervisor::announce_segments(worker_record& worker, const process_submission& work,
                                  const char* begin, const char* end) {
  for (const char* part = begin; part < end;) {
    std::uint32_t stored = 0;
    if (part_length(part, stored) == in_segment) {
      segment_reference where;
      std::memcpy(&where, part + sizeof(std::uint32_t), sizeof where);
      for (const auto& segment : work.segments()) {
        if (segment->id() != where.id) {
          continue;
        }
        const int code =
            worker.channel->send_segment(segment->id(), segment->reader(), worker.next_number);
        if (code != 0) {
          return code;
        }
        break;
      }
    }
    part += sizeof(std::uint32_t) + stored;
  }
  return 0;
}

bool supervisor::may_go_later(int code) {
  if (code == EAGAIN) {
    return true;  // the socket is read empty before its reader sleeps
  }
  if (code != ETOOMANYREFS) {
    return false;
  }
  // What is on its way to others usually is received soon.
  const auto now = core_.host().now();
  if (!short_since_) {
    short_since_ = now;
  }
  return now - *short_since_ < shortage_patience;
}

void supervisor::refuse(const worker_record& worker, task_range& what, int code) {
  task_range one{what.work, what.first, 1, what.attempt, what.forgiven};
  ++what.first;
  --what.count;
  --queued_;
  core_.note_dequeued(1);
  auto why = plain_failure(errc::resource_exhausted, task_ran::no,
                           what.work->name() + " could not be sent to worker " +
                               std::to_string(worker.id) + " (pid " + std::to_string(worker.pid) +
                               "): " + shortage_text(code));
  why->task = what.work->number;
  why->attempt = what.attempt;
  refused_.emplace_back(std::move(one), std::move(why));
}

void supervisor::settle_refused() {
  for (const auto& [what, why] : std::exchange(refused_, {})) {
    conclude(what, what.first, why);
  }
}

bool supervisor::send(worker_record& worker, task_range& what) {
  process_submission& work = *what.work;
  // Of tasks that end in any order, each has a place of its own.
  std::uint32_t count = concurrency() > 1 ? 1 : what.count;
  if (count > 1) {
    if (work.max_range > 0) {
      count = std::min(count, work.max_range);
    } else {
      const auto mean = std::chrono::nanoseconds{static_cast<std::int64_t>(worker.mean_task_ns)};
      const std::uint32_t window = window_for(mean, worker.measured);
      const std::uint64_t fair = queued_ / std::max<std::size_t>(ring_.size(), 1);
      count =
          std::min({count, std::max(1U, window - std::min(window, worker.outstanding)),
                    static_cast<std::uint32_t>(std::clamp<std::uint64_t>(fair, 1, UINT32_MAX))});
    }
    count =
        static_cast<std::uint32_t>(std::min<std::uint64_t>(count, task_limit() - worker.assigned));
  }
  const std::uint32_t begin = work.count == 1 ? work.callable_bytes : work.offset_of(what.first);
  std::uint32_t end = 0;
  const std::size_t head = sizeof(run_header) + work.callable_bytes;
  for (;;) {
    end = work.count == 1 ? static_cast<std::uint32_t>(work.bytes.size())
                          : work.offset_of(what.first + count);
    if (count == 1 || head + (end - begin) <= max_frame_bytes) {
      break;
    }
    count = count / 2;
  }
  std::byte* room = worker.channel->begin_frame(head + (end - begin));
  int code = room == nullptr ? EAGAIN : 0;
  bool handed_over = false;
  if (code == 0 && !work.segments().empty()) {
    handed_over = true;
    const char* const bytes = work.bytes.data();
    code = announce_segments(worker, work, bytes, bytes + work.callable_bytes);
    std::uint32_t from = begin;
    for (std::uint32_t i = 0; code == 0 && i < count; ++i) {
      const std::uint32_t to = i + 1 == count ? end : work.offset_of(what.first + i + 1);
      code = announce_segments(worker, work, bytes + from, bytes + to);
      if (code != 0 && i > 0) {
        count = i;  // those before it can go
        end = from;
        code = 0;
      }
      from = to;
    }
  }
  // Last: what came for a frame that was not sent is taken for the next one's, which has the same
  // number. Segments have ids of their own.
  if (code == 0 && !work.attachments().empty()) {
    code = worker.channel->send_attachments(worker.next_number, work.attachments());
    handed_over = true;
  }
  if (code == 0 && handed_over) {
    short_since_.reset();
  }
  // To a worker that is busy it would only be sent ahead.
  if (code != 0 && room != nullptr && !may_go_later(code) &&
      (code != ETOOMANYREFS || worker.outstanding < concurrency())) {
    refuse(worker, what, code);
    return true;
  }
  if (code != 0) {
    worker.blocked = true;
    // Its next result unblocks it, but a full socket may belong to a worker that has nothing to do.
    if (!worker.unblock_timer) {
      worker.unblock_timer = true;
      set_timer(core_.host().now() + patience, timer::unblock, {worker.id, 0});
    }
    return false;
  }
  const run_header header{work.number, count, what.attempt};
  std::memcpy(room, &header, sizeof header);
  std::memcpy(room + sizeof header, work.bytes.data(), work.callable_bytes);
  std::memcpy(room + head, work.bytes.data() + begin, end - begin);
  const auto flags = static_cast<std::uint16_t>((work.options().timeout ? announce_begin : 0) |
                                                (work.attachments().empty() ? 0 : has_attachments));
  worker.channel->publish({static_cast<std::uint32_t>(head + (end - begin)), frame_kind::tasks,
                           flags, worker.next_number});
  if (worker.outstanding == 0) {
    worker.last_progress = core_.host().now();
  }
  worker.sent.push_back(
      {{what.work, what.first, count, what.attempt, what.forgiven}, worker.next_number, 0});
  worker.next_number += count;
  worker.outstanding += count;
  worker.assigned += count;
  worker.bell_due = true;
  outstanding_ += count;
  queued_ -= count;
  core_.note_dequeued(count);
  what.first += count;
  what.count -= count;
  return true;
}

void supervisor::dispatch() {
  dispatch_due_ = false;
  if (state_ == state::open || state_ == state::closing) {
    if (outstanding_ > 0) {
      turn_begun_ = core_.host().now();
    }
    if (const auto why = std::exchange(stranded_for_, nullptr)) {
      fail_stranded(*why);
    }
    bool sent = send_own();
    while (task_range* const what = next_range()) {
      worker_record* const worker = pick_worker();
      if (worker == nullptr) {
        break;
      }
      if (!what->work->options().affinity.empty()) {
        bound_[what->work->options().affinity] = worker->id;
      }
      if (send(*worker, *what)) {
        sent = true;
        if (what->count == 0) {
          queue_.begin()->second.pop_front();
        }
      }
    }
    sent = send_own() || sent;
    settle_refused();
    if (sent) {
      for (worker_record* worker : ring_) {
        if (std::exchange(worker->bell_due, false)) {
          worker->channel->ring_bell();
        }
      }
    }
    retire_drained();
    if (parents_ > 0 || compensation_due_) {
      compensation_due_ = false;
      compensate();
    }
    grow();
    watch_idle();
  }
  if (outstanding_ > 1 && !balance_timer_ && next_range() == nullptr) {
    bool somebody_idle = false;
    bool somebody_waits = false;
    for (const worker_record* worker : ring_) {
      somebody_idle = somebody_idle || (worker->usable() && worker->outstanding < concurrency());
      somebody_waits = somebody_waits || worker->outstanding > concurrency();
    }
    if (somebody_idle && somebody_waits) {
      balance_timer_ = true;
      set_timer(core_.host().now() + patience, timer::balance);
    }
  }
}

void supervisor::take_back(worker_record& worker) {
  const std::uint64_t first = worker.channel->revoke(worker.next_number);
  std::vector<task_range> returned;
  while (!worker.sent.empty()) {
    sent_range& last = worker.sent.back();
    const std::uint64_t from = std::max(first, last.number + last.done);
    const std::uint64_t end = last.number + last.what.count;
    if (from >= end) {
      break;
    }
    const auto count = static_cast<std::uint32_t>(end - from);
    task_range back{last.what.work,
                    last.what.first + static_cast<std::uint32_t>(from - last.number), count,
                    last.what.attempt, last.what.forgiven};
    worker.outstanding -= count;
    worker.assigned -= count;
    outstanding_ -= count;
    returned.push_back(std::move(back));
    last.what.count -= count;
    if (last.what.count == last.done) {
      do {
        worker.sent.pop_back();
      } while (!worker.sent.empty() && !worker.sent.back().what.work);
    } else {
      break;
    }
  }
  if (returned.empty()) {
    return;
  }
  std::reverse(returned.begin(), returned.end());
  enqueue_front(std::move(returned));
  dispatch_due_ = true;
}

void supervisor::balance() {
  if (next_range() != nullptr || (state_ != state::open && state_ != state::closing)) {
    return;
  }
  std::size_t idle = 0;
  for (const worker_record* worker : ring_) {
    idle += worker->usable() && worker->outstanding < concurrency() ? 1 : 0;
  }
  if (idle == 0) {
    return;
  }
  const auto now = core_.host().now();
  bool waiting = false;
  for (worker_record* worker : std::vector<worker_record*>{ring_}) {
    if (worker->outstanding <= concurrency() || !worker->usable()) {
      continue;
    }
    if (now - worker->last_progress >= patience) {
      take_back(*worker);
    } else {
      waiting = true;
    }
  }
  if (waiting && !balance_timer_) {
    balance_timer_ = true;
    set_timer(now + patience, timer::balance);
  }
}

}  // namespace troupe::detail
