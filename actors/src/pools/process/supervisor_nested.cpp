// SPDX-License-Identifier: BSD-3-Clause

// Tasks of this pool that tasks of this pool submit, and wait for.

#include "troupe/log.hpp"

#include "channel/message_socket.hpp"
#include "os/shortage.hpp"
#include "pools/process/nested_outcome.hpp"
#include "pools/process/supervisor_actor.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

namespace troupe::detail {

/// Sends the outcome of a nested submission to the worker whose task submitted it.
class supervisor::nested_group final : public submission_group {
 public:
  nested_group(supervisor& owner, std::uint64_t worker, std::uint64_t ticket)
      : owner_{owner}, worker_{worker}, ticket_{ticket} {
    all_or_nothing = false;
  }
  void submission_done(process_submission& finished) override {
    owner_.on_nested_done(worker_, ticket_, finished);
  }

 private:
  supervisor& owner_;  // calls this on its turn, so it is there
  std::uint64_t worker_;
  std::uint64_t ticket_;
};

void supervisor::on_submit(worker_record& worker, const frame_header& header,
                           std::span<const std::byte> payload) {
  try {
    if ((header.flags & submit_has_socket) != 0) {
      worker.outcomes.reset();
      worker.outcomes_due.clear();
      try {
        const attachment_list socket = worker.channel->take_attachments(ticket_bit);
        if (socket.size() == 1) {
          worker.outcomes = socket.front();
        }
      } catch (const error& problem) {
        if (problem.code() != errc::resource_exhausted) {
          throw;
        }
        // The worker sees the end of the socket that was lost, and fails what it has submitted.
        log(log_level::warning, problem.what());
      }
      worker.channel->done_with(ticket_bit);
      return;
    }
    if ((header.flags & submit_cancel) != 0) {
      if (const auto found = worker.children.find(header.number); found != worker.children.end()) {
        const auto child = found->second;
        cancel(*child, false);
      }
      return;
    }
    if (!worker.outcomes) {
      worker.channel->abandon(header.number | ticket_bit);  // its outcome could not be sent
      return;
    }
    auto child = decode_nested(worker, header, payload);
    worker.channel->done_with(header.number | ticket_bit);
    if (!child || worker.children.contains(header.number)) {
      worker.channel->break_channel("it submitted a task that cannot be read");
      return;
    }
    begin_nested(worker, header.number, std::move(child));
  } catch (const error& problem) {
    if (problem.code() == errc::protocol_error) {
      worker.channel->break_channel(problem.what());
      return;
    }
    // Short of something: only this submission fails.
    worker.channel->abandon(header.number | ticket_bit);
    send_outcome(worker, make_outcome(header.number, capture_failure(std::current_exception())));
  }
}

std::shared_ptr<process_submission> supervisor::decode_nested(worker_record& worker,
                                                              const frame_header& header,
                                                              std::span<const std::byte> payload) {
  // Copied first: the worker could still change it.
  const std::vector<std::byte> copy{payload.begin(), payload.end()};
  std::span<const std::byte> rest{copy};
  std::uint64_t head = 0;
  if (!take_front(rest, head) || head > rest.size()) {
    return nullptr;
  }
  submission_builder built{core_.segments(), options_.max_payload_bytes};
  const auto add = [&](auto member) {
    std::uint32_t length = 0;
    if (!take_front(rest, length)) {
      return false;
    }
    std::span<const std::byte> part;
    std::shared_ptr<const foreign_payload> kept;
    if (length == in_segment) {
      segment_reference where;
      if (!take_front(rest, where)) {
        return false;
      }
      where.slot = result_slots;
      kept = worker.channel->open_payload(where, header.number | ticket_bit);
      part = kept->bytes();
    } else if (length <= rest.size()) {
      part = rest.first(length);
      rest = rest.subspan(length);
    } else {
      return false;
    }
    (built.*member)([part](byte_sink& sink) { sink.append(part.data(), part.size()); });
    return true;
  };
  if (!add(&submission_builder::callable) || !add(&submission_builder::item) || !rest.empty()) {
    return nullptr;
  }
  if ((header.flags & submit_has_attachments) != 0) {
    built.attachments_ = worker.channel->take_attachments(header.number | ticket_bit);
  }
  auto made = std::make_shared<process_submission>(core_.shared_from_this(), core_.task_defaults(),
                                                   std::move(built.segments_));
  made->set_attachments(std::move(built.attachments_));
  made->callable_bytes = static_cast<std::uint32_t>(built.callable_bytes_);
  made->count = 1;
  made->bytes.assign(reinterpret_cast<const char*>(built.sink_->data()), built.sink_->size());
  return made;
}

void supervisor::begin_nested(worker_record& worker, std::uint64_t ticket,
                              std::shared_ptr<process_submission> child) {
  child->number = next_submission_++;
  child->group = std::make_shared<nested_group>(*this, worker.id, ticket);
  child->prepare();
  ++stats_.submitted;
  const bool first = worker.children.empty();
  worker.children.emplace(ticket, child);
  if (first) {
    ++parents_;
    take_back(worker);  // its other tasks would wait for those of this one
  }
  if (state_ != state::open && state_ != state::closing && state_ != state::starting) {
    fail_pending(*child, errc::pool_closed, core_.title() + " is ending: it takes no more work");
    return;
  }
  if (first && parents_ >= most_ + max_extra_workers) {
    fail_pending(*child, errc::would_deadlock,
                 std::to_string(parents_) + " tasks of " + core_.title() +
                     " wait for tasks of their own, and no worker is left to run them: nest less "
                     "deep, or await with coroutines");
    return;
  }
  core_.note_requeued(1);
  enqueue({std::move(child), 0, 1, 1});
  dispatch_due_ = true;
}

void supervisor::on_nested_done(std::uint64_t id, std::uint64_t ticket,
                                const process_submission& finished) {
  worker_record* const worker = find(id);
  if (worker == nullptr || worker->children.erase(ticket) == 0) {
    return;  // it died meanwhile
  }
  if (worker->children.empty()) {
    --parents_;
    compensation_due_ = true;
    dispatch_due_ = true;
  }
  send_outcome(*worker, make_outcome(ticket, finished));
}

void supervisor::orphan(worker_record& worker) {
  if (worker.children.empty()) {
    return;
  }
  --parents_;
  compensation_due_ = true;
  for (const auto& [ticket, child] : std::exchange(worker.children, {})) {
    cancel(*child, false);  // nobody waits for it any more
  }
}

void supervisor::send_outcome(worker_record& worker, outcome_message message) {
  if (worker.outcomes) {
    worker.outcomes_due.push_back(std::move(message));
    send_outcomes(worker);
  }
}

void supervisor::send_outcomes(worker_record& worker) {
  while (!worker.outcomes_due.empty() && worker.outcomes) {
    outcome_message& next = worker.outcomes_due.front();
    std::vector<int> numbers;
    for (const auto& one : next.descriptors) {
      numbers.push_back(one->number());
    }
    const int code =
        send_message(worker.outcomes->number(), std::as_bytes(std::span{next.text}), numbers);
    if (code == 0 && !numbers.empty()) {
      short_since_.reset();
    }
    if (code != 0 && !may_go_later(code)) {
      if (numbers.empty()) {
        log(log_level::error,
            "an outcome could not be sent to a task that waits for it: " + shortage_text(code));
        worker.outcomes.reset();  // its end tells that worker that no more will come
        return;
      }
      outcome_header lost;
      std::memcpy(&lost, next.text.data(), sizeof lost);
      next = make_outcome(lost.ticket,
                          *plain_failure(errc::resource_exhausted, task_ran::yes,
                                         "the result of a task could not be sent to the task that "
                                         "waits for it: " +
                                             shortage_text(code)));
      continue;
    }
    if (code != 0) {
      if (!worker.unblock_timer) {
        worker.unblock_timer = true;
        set_timer(later(core_.host().now(), std::chrono::milliseconds{1}), timer::unblock,
                  {worker.id, 0});
      }
      return;
    }
    worker.outcomes_due.pop_front();
  }
}

void supervisor::compensate() {
  // Workers that wait do not count while something waits for a worker.
  const int wanted =
      next_range() == nullptr ? std::min(extra_, parents_) : std::min(parents_, max_extra_workers);
  if (wanted > extra_) {
    const bool room = std::any_of(ring_.begin(), ring_.end(), [this](const worker_record* worker) {
      return worker->phase == worker_phase::starting || has_room(*worker);
    });
    if (!room) {
      extra_ = wanted;
      maintain();
    }
  } else if (wanted < extra_) {
    extra_ = wanted;
    shed_surplus();
  }
}

void supervisor::fail_stranded(const failure& why) {
  const bool all_wait = std::all_of(ring_.begin(), ring_.end(), [](const worker_record* worker) {
    return worker->phase != worker_phase::starting && !worker->children.empty();
  });
  if (parents_ == 0 || !all_wait) {
    return;  // who waits for nothing makes room some time
  }
  std::vector<task_range> stranded;
  each_queue([&](std::deque<task_range>& waiting) {
    std::erase_if(waiting, [&](const task_range& what) {
      const bool is_child = dynamic_cast<const nested_group*>(what.work->group.get()) != nullptr &&
                            !what.work->done() && !what.work->decided(what.first);
      if (is_child) {
        stranded.push_back(what);
      }
      return is_child;
    });
  });
  for (const task_range& what : stranded) {
    --queued_;
    core_.note_dequeued(1);
    auto told = plain_failure(
        errc::resource_exhausted, task_ran::no,
        what.work->name() + " has no worker: all of " + core_.title() +
            " run tasks that wait for tasks of their own, and no other could be started: " +
            why.text);
    told->task = what.work->number;
    told->attempt = what.attempt;
    conclude(what, what.first, std::move(told));
  }
}

}  // namespace troupe::detail
