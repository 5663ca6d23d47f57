// SPDX-License-Identifier: BSD-3-Clause
#include "pools/worker/nested.hpp"

#include "troupe/codec.hpp"
#include "troupe/detail/memory.hpp"
#include "troupe/this_process.hpp"
#include "troupe/this_task.hpp"

#include "channel/message_socket.hpp"
#include "os/descriptor_attachment.hpp"
#include "os/shortage.hpp"
#include "pools/worker/this_worker.hpp"

#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <system_error>
#include <thread>
#include <utility>

namespace troupe::detail {

/// The future of a task that another worker runs for this one.
class nested_calls::relayed final : public future_state {
 public:
  relayed(nested_calls& owner, std::uint64_t ticket, std::vector<std::shared_ptr<segment>> segments)
      : owner_{owner}, ticket_{ticket}, segments_{std::move(segments)} {}

  void each_value(const std::function<void(std::span<const std::byte>)>& visit) const override {
    const attachment_source scope{attachments_};
    visit(view_ ? std::span<const std::byte>{view_.data(), size_}
                : std::as_bytes(std::span{bytes_}));
  }
  bool cancel(bool /*force*/) override {
    if (!done()) {
      owner_.cancel(ticket_);
    }
    return false;  // whether it had begun, its future will tell
  }
  [[nodiscard]] bool running() const override { return false; }

  void fulfil(std::span<const std::byte> bytes, mapping view, std::size_t size,
              attachment_list attachments) {
    bytes_.assign(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    view_ = std::move(view);
    size_ = size;
    attachments_ = std::move(attachments);
    segments_.clear();
    finish(nullptr);
  }
  void fail(failure why) {
    segments_.clear();
    finish(std::make_shared<const failure>(std::move(why)));
  }

 protected:
  [[nodiscard]] executor callbacks() const override {
    return [runner = owner_.callbacks_](std::function<void()> call) {
      runner->run(std::move(call));
    };
  }

 private:
  nested_calls& owner_;
  std::uint64_t ticket_;
  std::vector<std::shared_ptr<segment>> segments_;  // until the supervisor has surely read them
  std::string bytes_;
  mapping view_;
  std::size_t size_ = 0;
  attachment_list attachments_;
};

nested_calls::nested_calls(worker_channel& channel, std::shared_ptr<segment_pool> segments)
    : channel_{channel}, segments_{std::move(segments)} {}

submission_builder nested_calls::builder() {
  return submission_builder{segments_, max_bytes_};
}

void nested_calls::open_socket() {
  auto [here, there] = message_sockets();
  socket_ = std::move(here);
  const attachment_list far{
      std::make_shared<const descriptor_attachment>(new_attachment_id(), std::move(there))};
  if (const int code = channel_.send_attachments(ticket_bit, far); code != 0) {
    fail_submission(code);
  }
  channel_.push(frame_kind::submit, submit_has_socket, 0, {}, {});
  {
    const mutex_guard lock{mutex_};
    open_ = true;
  }
  sigset_t all;
  sigset_t old;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &old);
  int code = 0;
  try {
    std::thread{[this, socket = socket_.number()] { read_outcomes(socket); }}.detach();
  } catch (const std::system_error& problem) {
    code = problem.code().value();
  }
  pthread_sigmask(SIG_SETMASK, &old, nullptr);
  if (code != 0) {
    {
      const mutex_guard lock{mutex_};
      open_ = false;  // without a reader no outcome would come: the next submission tries again
    }
    fail_submission(code);
  }
}

void nested_calls::fail_submission(int code) {
  if (code == EPIPE) {
    throw pool_closed{"troupe: the pool of this task is gone"};
  }
  throw shortage("troupe: a task of a task could not be submitted", code);
}

namespace {

/// Why outcomes will not come: the pool is gone, or it could not receive the socket for them.
failure no_outcomes(int channel) {
  pollfd end{channel, POLLRDHUP, 0};
  failure gone;
  gone.ran = task_ran::no;
  if (::poll(&end, 1, 0) == 1 && (end.revents & (POLLRDHUP | POLLHUP | POLLERR)) != 0) {
    gone.code = errc::pool_closed;
    gone.text = "troupe: the pool of this task is gone";
  } else {
    gone.code = errc::resource_exhausted;
    gone.text =
        "troupe: the program of this pool has no free descriptor for the outcomes of tasks that "
        "this task submits: see its RLIMIT_NOFILE (ulimit -n)";
  }
  return gone;
}

}  // namespace

std::shared_ptr<future_state> nested_calls::submit(submission_builder&& submission) {
  bool open = false;
  {
    const mutex_guard lock{mutex_};
    open = open_;
  }
  if (!open) {
    open_socket();
  }
  // Spent only by a frame, so that what was sent for a submission that failed goes with the next.
  const std::uint64_t ticket = next_ticket_;
  std::uint16_t flags = 0;
  for (const auto& segment : submission.segments_) {
    const int code = channel_.send_segment(segment->id(), segment->reader(), ticket | ticket_bit);
    if (code != 0) {
      fail_submission(code);
    }
  }
  if (!submission.attachments_.empty()) {
    if (const int code = channel_.send_attachments(ticket | ticket_bit, submission.attachments_);
        code != 0) {
      fail_submission(code);
    }
    flags |= submit_has_attachments;
  }
  auto made = std::make_shared<relayed>(*this, ticket, std::move(submission.segments_));
  {
    const mutex_guard lock{mutex_};
    if (!open_) {
      rethrow(no_outcomes(channel_.socket()));
    }
    waiting_.emplace(ticket, made);
  }
  ++next_ticket_;
  const std::uint64_t head = submission.callable_bytes_;
  if (!channel_.push(frame_kind::submit, flags, ticket, std::as_bytes(std::span{&head, 1}),
                     submission.sink_->bytes())) {
    const mutex_guard lock{mutex_};
    waiting_.erase(ticket);
    throw pool_closed{"troupe: the pool of this task is gone"};
  }
  channel_.ring_bell();
  return made;
}

void nested_calls::cancel(std::uint64_t ticket) {
  if (::getpid() == ::syscall(SYS_gettid)) {  // the channel is the main thread's
    channel_.push(frame_kind::submit, submit_cancel, ticket, {}, {});
    channel_.ring_bell();
  }
}

void nested_calls::read_outcomes(int socket) {
  std::vector<std::byte> buffer(max_inline_outcome + sizeof(outcome_header) +
                                max_attachments * sizeof(std::uint64_t));
  while (auto message = receive_message(socket, buffer)) {
    deliver(std::span{buffer}.first(message->bytes), message->descriptors, message->some_lost);
  }
  std::map<std::uint64_t, std::shared_ptr<relayed>> left;
  {
    const mutex_guard lock{mutex_};
    open_ = false;  // the next submission tries again
    left.swap(waiting_);
  }
  const failure why = no_outcomes(channel_.socket());
  for (const auto& [ticket, one] : left) {
    one->fail(why);
  }
}

void nested_calls::deliver(std::span<const std::byte> message, std::vector<descriptor>& descriptors,
                           bool some_lost) {
  outcome_header header;
  if (!take_front(message, header)) {
    return;
  }
  std::shared_ptr<relayed> to;
  {
    const mutex_guard lock{mutex_};
    const auto found = waiting_.find(header.ticket);
    if (found == waiting_.end()) {
      return;
    }
    to = std::move(found->second);
    waiting_.erase(found);
  }
  try {
    if (some_lost) {
      throw shortage("troupe: the result of a task of a task came without a descriptor", EMFILE,
                     task_ran::yes);
    }
    mapping view;
    auto next = descriptors.begin();
    if ((header.flags & outcome_in_memory) != 0 && next != descriptors.end()) {
      view = map_foreign(*next++, header.bytes);
    }
    attachment_list attachments;
    for (std::uint32_t i = 0; i < header.attachments; ++i) {
      std::uint64_t id = 0;
      if (take_front(message, id) && next != descriptors.end()) {
        attachments.push_back(
            std::make_shared<const descriptor_attachment>(id, std::move(*next++)));
      }
    }
    if ((header.flags & outcome_failed) != 0) {
      to->fail(decode<failure>(
          view ? std::span<const std::byte>{view.data(), static_cast<std::size_t>(header.bytes)}
               : message));
    } else {
      to->fulfil(message, std::move(view), header.bytes, std::move(attachments));
    }
  } catch (...) {
    to->fail(capture_failure(std::current_exception()));
  }
}

}  // namespace troupe::detail
