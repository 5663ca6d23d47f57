// SPDX-License-Identifier: BSD-3-Clause
#include "pools/supervisor/nested_tasks.hpp"

#include "troupe/detail/pool_core.hpp"
#include "troupe/log.hpp"

#include "channel/message_socket.hpp"
#include "os/shortage.hpp"

#include <algorithm>
#include <cstring>
#include <exception>
#include <string>
#include <utility>
#include <vector>

namespace troupe::detail {
namespace {

/// How deep the task is nested that the worker runs; of several coroutines the deepest one.
std::uint32_t depth_of_begun(const worker_record& worker) {
  std::uint32_t depth = 0;
  for (const sent_range& sent : worker.sent.all()) {
    if (sent.what.work && sent.next_number() < worker.channel->undecided()) {
      depth = std::max(depth, sent.what.work->depth);
    }
  }
  return depth;
}

}  // namespace

/// Sends the outcome of a nested submission to the worker whose task submitted it.
class nested_tasks::nested_group final : public submission_group {
 public:
  nested_group(nested_tasks& owner, std::uint64_t worker, std::uint64_t ticket)
      : owner_{owner}, worker_{worker}, ticket_{ticket} {
    all_or_nothing = false;
  }
  void submission_done(process_submission& finished) override {
    owner_.on_done(worker_, ticket_, finished);
  }

 private:
  nested_tasks& owner_;  // exists: the supervisor calls this on its turn
  std::uint64_t worker_;
  std::uint64_t ticket_;
};

void nested_tasks::open_outcomes(worker_record& worker) {
  worker.children.socket.reset();
  worker.children.outcomes.clear();
  try {
    const attachment_list socket = worker.channel->take_attachments(ticket_bit);
    if (socket.size() == 1) {
      worker.children.socket = socket.front();
    }
  } catch (const error& problem) {
    if (problem.code() != errc::resource_exhausted) {
      throw;
    }
    // The worker sees the end of the socket that was lost, and fails what it has submitted.
    log(log_level::warning, problem.what());
  }
  worker.channel->done_with(ticket_bit);
}

void nested_tasks::on_submit(worker_record& worker, const frame_header& header,
                             std::span<const std::byte> payload) {
  try {
    auto& children = worker.children.by_ticket;
    if ((header.flags & submit_has_socket) != 0) {
      open_outcomes(worker);
      return;
    }
    if ((header.flags & submit_cancel) != 0) {
      if (const auto found = children.find(header.number); found != children.end()) {
        const auto child = found->second;
        stopper_.cancel(*child, false);
      }
      return;
    }
    if (!worker.children.socket) {
      worker.channel->abandon(header.number | ticket_bit);  // its outcome could not be sent
      return;
    }
    auto child = decode(worker, header, payload);
    worker.channel->done_with(header.number | ticket_bit);
    if (!child || children.contains(header.number)) {
      worker.channel->break_channel("it submitted a task that cannot be read");
      return;
    }
    begin(worker, header.number, std::move(child));
  } catch (const error& problem) {
    if (problem.code() == errc::protocol_error) {
      worker.channel->break_channel(problem.what());
      return;
    }
    // A shortage of memory or descriptors: only this submission fails.
    worker.channel->abandon(header.number | ticket_bit);
    send_outcome(worker, make_outcome(header.number, capture_failure(std::current_exception())));
  }
}

std::shared_ptr<process_submission> nested_tasks::decode(worker_record& worker,
                                                         const frame_header& header,
                                                         std::span<const std::byte> payload) {
  // Copied first: the worker could change the bytes while they are decoded.
  const std::vector<std::byte> copy{payload.begin(), payload.end()};
  std::span<const std::byte> rest{copy};
  std::uint64_t head = 0;
  if (!take_front(rest, head) || head > rest.size()) {
    return nullptr;
  }
  submission_builder built{state_.face.segments(), state_.options.max_payload_bytes};
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
  auto made = std::make_shared<process_submission>(state_.face.shared_from_this(),
                                                   state_.face.task_defaults(), std::move(built));
  if ((header.flags & submit_has_attachments) != 0) {
    made->set_attachments(worker.channel->take_attachments(header.number | ticket_bit));
  }
  return made;
}

void nested_tasks::begin(worker_record& worker, std::uint64_t ticket,
                         std::shared_ptr<process_submission> child) {
  child->number = ++last_number_;
  child->group = std::make_shared<nested_group>(*this, worker.id, ticket);
  ++state_.counts.submitted;
  const bool first = !worker.is_parent();
  if (first) {
    control_.take_back(worker);  // what was sent ahead would wait for the tasks of this task
    worker.children.depth = depth_of_begun(worker);
  }
  child->depth = worker.children.depth + 1;
  worker.children.by_ticket.emplace(ticket, child);
  if (first) {
    fleet_.size().add_parent(worker.children.depth);
    state_.queue.block(worker.id);
  }
  if (!state_.serving() && state_.phase != pool_phase::starting) {
    // As what waited when the pool was ended: its task most likely fails with the same.
    const bool broken = state_.phase == pool_phase::broken;
    ledger_.refuse(*child, broken ? errc::pool_broken : errc::cancelled,
                   state_.face.title() + (broken ? " is broken" : " was terminated") +
                       ": it takes no more work");
    return;
  }
  if (first && fleet_.size().too_many_parents()) {
    ledger_.refuse(*child, errc::would_deadlock,
                   std::to_string(fleet_.size().parents()) + " tasks of " + state_.face.title() +
                       " wait for tasks of their own, and no worker is left to run them: nest "
                       "less deep, or await with coroutines");
    return;
  }
  stopper_.accept(child);
  state_.face.note_requeued(1);
  state_.enqueue({std::move(child), 0, 1, {}});
}

void nested_tasks::on_done(std::uint64_t id, std::uint64_t ticket,
                           const process_submission& finished) {
  worker_record* const worker = state_.workers.find(id);
  if (worker == nullptr || worker->children.by_ticket.erase(ticket) == 0) {
    return;  // it died meanwhile
  }
  if (!worker->is_parent()) {
    end_parent(*worker);
  }
  send_outcome(*worker, make_outcome(ticket, finished));
}

void nested_tasks::end_parent(const worker_record& worker) {
  fleet_.size().remove_parent(worker.children.depth);
  state_.queue.unblock(worker.id);
  state_.dispatch_due = true;
}

void nested_tasks::on_death(worker_record& worker) {
  if (!worker.is_parent()) {
    return;
  }
  end_parent(worker);
  for (const auto& [ticket, child] : std::exchange(worker.children.by_ticket, {})) {
    stopper_.cancel(*child, false);  // no task waits for it any more
  }
}

void nested_tasks::send_outcome(worker_record& worker, outcome_message message) {
  if (worker.children.socket) {
    worker.children.outcomes.push_back(std::move(message));
    send_outcomes(worker);
  }
}

void nested_tasks::send_outcomes(worker_record& worker) {
  auto& socket = worker.children.socket;
  auto& outcomes = worker.children.outcomes;
  while (!outcomes.empty() && socket) {
    outcome_message& next = outcomes.front();
    std::vector<int> numbers;
    for (const auto& one : next.descriptors) {
      numbers.push_back(one->number());
    }
    const int code = send_message(socket->number(), std::as_bytes(std::span{next.text}), numbers);
    if (code == 0) {
      if (!numbers.empty()) {
        dispatcher_.end_shortage();
      }
      outcomes.pop_front();
      continue;
    }
    if (dispatcher_.may_go_later(code)) {
      control_.unblock_later(worker);
      return;
    }
    if (numbers.empty()) {
      log(log_level::error,
          "an outcome could not be sent to a task that waits for it: " + shortage_text(code));
      socket.reset();  // the worker reads the end of the socket: no more outcomes come
      return;
    }
    outcome_header lost;
    std::memcpy(&lost, next.text.data(), sizeof lost);
    next = make_outcome(lost.ticket,
                        *plain_failure(errc::resource_exhausted, task_ran::yes,
                                       "the result of a task could not be sent to the task that "
                                       "waits for it: " +
                                           shortage_text(code)));
  }
}

void nested_tasks::compensate() {
  const pool_size& size = fleet_.size();
  if (size.parents() > 0 || size.wanted() > size.target()) {
    const bool some_wait = dispatcher_.next() != nullptr && !dispatcher_.enough_run();
    const bool some_have_room = state_.workers.any([this](const worker_record* worker) {
      return worker->phase == worker_phase::starting || dispatcher_.has_room(*worker);
    });
    fleet_.compensate(some_wait, some_have_room, state_.counts.queued > 0);
  }
}

void nested_tasks::fail_stranded(const failure& why) {
  const bool some_make_room = state_.workers.any([](const worker_record* worker) {
    return worker->phase == worker_phase::starting || !worker->is_parent();
  });
  if (fleet_.size().parents() == 0 || some_make_room) {
    return;  // a task that does not wait for tasks will end and free its worker
  }
  std::vector<task_range> stranded;
  state_.queue.sweep([&](const task_range& what) {
    const bool is_child =
        dynamic_cast<const nested_group*>(what.work->group.get()) != nullptr && !what.is_over();
    if (is_child) {
      stranded.push_back(what);
    }
    return !is_child;
  });
  for (const task_range& what : stranded) {
    state_.note_dequeued(1);
    auto told = plain_failure(
        errc::resource_exhausted, task_ran::no,
        what.work->name() + " has no worker: all of " + state_.face.title() +
            " run tasks that wait for tasks of their own, and no other could be started: " +
            why.text);
    told->task = what.work->number;
    told->attempt = what.attempt.number;
    ledger_.conclude(what, what.first, std::move(told));
  }
}

}  // namespace troupe::detail
