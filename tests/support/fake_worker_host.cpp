// SPDX-License-Identifier: BSD-3-Clause
#include "support/fake_worker_host.hpp"

#include "troupe/codec.hpp"
#include "troupe/detail/byte_sink.hpp"
#include "troupe/detail/code_address.hpp"

#include "caf/caf.hpp"
#include "channel/worker_protocol.hpp"
#include "futures/callback_runner.hpp"
#include "os/descriptor_attachment.hpp"
#include "os/sys.hpp"
#include "process/exit_notice.hpp"

#include <gtest/gtest.h>

#include <sys/epoll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <cstring>
#include <stdexcept>
#include <utility>

namespace troupe::test {

using namespace detail;

// ---- one worker ---------------------------------------------------------------------------------

fake_worker::fake_worker(worker_host::start_order order, std::shared_ptr<process_observer> owner)
    : id_{order.worker}, owner_{std::move(owner)}, ends_{std::move(order.ends)} {}

void fake_worker::start() {
  state_ = state::running;
  channel_ = std::make_unique<worker_channel>(std::move(ends_));
  owner_->started(id_, pid(), {});
}

void fake_worker::refuse_to_start(int code) {
  state_ = state::ended;
  ends_ = {};
  owner_->start_failed(id_, code);
}

void fake_worker::say_hello() {
  send_hello(0);
}

void fake_worker::say_hello_of_another_build() {
  send_hello(1);
}

void fake_worker::send_hello(std::uint8_t other_build) {
  hello said;
  said.worker = id_;
  said.pid = pid();
  const auto build = program_build_id();
  said.build_id_bytes = static_cast<std::uint8_t>(std::min(build.size(), sizeof said.build_id));
  std::memcpy(said.build_id, build.data(), said.build_id_bytes);
  said.build_id[0] = static_cast<std::uint8_t>(said.build_id[0] ^ other_build);
  channel_->send_hello(to_bytes(said));
  greeted_ = true;
}

void fake_worker::say_ready() {
  say_ready_unheard();
  channel_->ring_bell();
}

void fake_worker::say_ready_unheard() {
  read();
  channel_->push(frame_kind::ready, 0, 0, {}, {});
  ready_ = true;
}

void fake_worker::fail_initializer(const std::string& text) {
  failure why;
  why.code = errc::initializer_failed;
  why.ran = task_ran::yes;
  why.text = text;
  byte_buffer bytes;
  encode(bytes, why);
  push(frame_kind::init_failed, 0, 0, {reinterpret_cast<const char*>(bytes.data()), bytes.size()});
}

void fake_worker::come_up() {
  start();
  say_hello();
  say_ready();
}

void fake_worker::close_channel() {
  channel_.reset();
}

void fake_worker::end(std::uint8_t kind, int value, bool with_server) {
  state_ = state::ended;
  channel_.reset();
  exit_notice notice;
  notice.pid = pid();
  notice.kind = kind;
  notice.value = value;
  notice.with_server = with_server;
  owner_->ended(id_, notice);
}

void fake_worker::exit(int code) {
  end(1, code);
}

void fake_worker::die_of(int signal) {
  end(2, signal);
}

void fake_worker::die_with_server() {
  end(0, 0, true);
}

bool fake_worker::got(int signal) const {
  return std::find(signals_.begin(), signals_.end(), signal) != signals_.end();
}

void fake_worker::push(frame_kind kind, std::uint16_t flags, std::uint64_t number,
                       const std::string& payload) {
  // A full ring would be waited for; the supervisor runs on this thread.
  channel_->push(kind, flags, number, {}, std::as_bytes(std::span{payload}));
  channel_->ring_bell();
}

void fake_worker::read() {
  channel_->read_bells();
  std::string bytes;
  channel_->take_frames(bytes, std::size_t{1} << 20);
  for (std::size_t at = 0; at < bytes.size();) {
    frame_header frame;
    std::memcpy(&frame, bytes.data() + at, sizeof frame);
    std::span<const std::byte> payload =
        std::as_bytes(std::span{bytes}).subspan(at + sizeof frame, frame.bytes);
    at += sizeof frame + (frame.bytes + 7) / 8 * 8;
    switch (frame.kind) {
      case frame_kind::tasks: {
        run_header run;
        ASSERT_TRUE(take_front(payload, run));
        const auto part = [&] {
          std::uint32_t length = 0;
          take_front(payload, length);
          std::string text{reinterpret_cast<const char*>(payload.data()), length};
          payload = payload.subspan(length);
          return text;
        };
        part();  // the callable
        for (std::uint32_t i = 0; i < run.count; ++i) {
          waiting_.push_back({frame.number + i, run.task, run.attempt,
                              (frame.flags & announce_begin) != 0, part()});
        }
        break;
      }
      case frame_kind::stop:
        told_to_stop_ = true;
        break;
      case frame_kind::stop_task:
        asked_to_stop_.push_back(frame.number);
        break;
      default:
        break;
    }
  }
  channel_->prepare_to_sleep();
}

std::optional<fake_worker::task> fake_worker::claim() {
  read();
  while (!waiting_.empty()) {
    task next = std::move(waiting_.front());
    waiting_.pop_front();
    if (channel_->claim(next.number)) {
      if (next.announce) {
        push(frame_kind::began, 0, next.number, {});
      }
      claimed_.push_back(next);
      return next;
    }
  }
  channel_->ring_bell();  // as a worker does before it sleeps
  return std::nullopt;
}

void fake_worker::drop_claimed(std::uint64_t number) {
  const auto found = std::find_if(claimed_.begin(), claimed_.end(),
                                  [&](const task& one) { return one.number == number; });
  ASSERT_NE(found, claimed_.end()) << "a result for a task that was not claimed";
  claimed_.erase(found);
}

void fake_worker::give(std::uint64_t number, const std::string& value,
                       std::chrono::nanoseconds took) {
  give_unheard(number, value, took);
  channel_->ring_bell();
}

void fake_worker::give_unheard(std::uint64_t number, const std::string& value,
                               std::chrono::nanoseconds took) {
  drop_claimed(number);
  const result_timing timing{static_cast<std::uint64_t>(took.count()), 1};
  const std::string payload = to_bytes(timing) + value;
  channel_->push(frame_kind::result, result_timed, number, {}, std::as_bytes(std::span{payload}));
}

void fake_worker::give_failure(std::uint64_t number, errc code, const std::string& text) {
  give_failure_unheard(number, code, text);
  channel_->ring_bell();
}

void fake_worker::give_failure_unheard(std::uint64_t number, errc code, const std::string& text) {
  drop_claimed(number);
  failure why;
  why.code = code;
  why.ran = task_ran::yes;
  why.text = text;
  byte_buffer bytes;
  encode(bytes, why);
  channel_->push(frame_kind::result, result_failed, number, {}, bytes.bytes());
}

void fake_worker::echo_all(std::chrono::nanoseconds took) {
  while (const auto next = claim()) {
    give(next->number, next->arguments, took);
  }
}

void fake_worker::talk_nonsense() {
  talk_nonsense_unheard();
  channel_->ring_bell();
}

void fake_worker::talk_nonsense_unheard() {
  channel_->push(frame_kind::result, 0, 1'000'000, {}, {});
}

void fake_worker::open_outcomes() {
  auto [here, there] = sys::socket_pair();
  outcomes_ = std::move(here);
  channel_->send_attachments(ticket_bit,
                             {std::make_shared<const descriptor_attachment>(1, std::move(there))});
  push(frame_kind::submit, submit_has_socket, 0, {});
}

void fake_worker::submit(std::uint64_t ticket, const std::string& arguments) {
  const std::string callable = to_bytes(std::uint32_t{1}) + "f";
  push(frame_kind::submit, 0, ticket,
       to_bytes(std::uint64_t{callable.size()}) + callable +
           to_bytes(static_cast<std::uint32_t>(arguments.size())) + arguments);
}

void fake_worker::cancel_submission(std::uint64_t ticket) {
  push(frame_kind::submit, submit_cancel, ticket, {});
}

std::optional<std::pair<std::uint64_t, std::string>> fake_worker::outcome() {
  std::array<char, 4096> buffer;
  const auto got = ::recv(outcomes_.number(), buffer.data(), buffer.size(), MSG_DONTWAIT);
  outcome_header header;
  if (got < static_cast<ssize_t>(sizeof header)) {
    return std::nullopt;
  }
  std::memcpy(&header, buffer.data(), sizeof header);
  return std::pair{header.ticket, (header.flags & outcome_failed) != 0
                                      ? std::string{"failed"}
                                      : std::string{buffer.data() + sizeof header,
                                                    static_cast<std::size_t>(got) - sizeof header}};
}

// ---- the host -----------------------------------------------------------------------------------

namespace {

/// One for all hosts of a program: it takes longer to make than a pool.
struct actor_place {
  caf::actor_system_config config;
  std::unique_ptr<caf::actor_system> system;

  actor_place() {
    compat::init_types();
    compat::configure_without_threads(config);
    system = compat::make_system(config);
  }
  static actor_place& get() {
    static actor_place place;
    return place;
  }
};

}  // namespace

fake_worker_host::fake_worker_host()
    : callbacks_{std::make_shared<callback_threads>()},
      segments_{std::make_shared<segment_pool>(std::size_t{1} << 20)},
      epoll_{::epoll_create1(EPOLL_CLOEXEC)} {}
fake_worker_host::~fake_worker_host() {
  callbacks_->wait_until_none();
}

caf::actor_system& fake_worker_host::actors() noexcept {
  return *actor_place::get().system;
}

std::uint64_t fake_worker_host::enroll(const std::shared_ptr<process_observer>& owner) {
  owners_.emplace(next_id_, owner);
  return next_id_++;
}

void fake_worker_host::dismiss(std::uint64_t worker) {
  owners_.erase(worker);
  if (const auto found = workers_.find(worker); found != workers_.end()) {
    gone_.push_back(std::move(found->second));
    workers_.erase(found);
  }
}

void fake_worker_host::watch(int socket, std::function<void()> ready) {
  epoll_event event{};
  event.events = EPOLLIN | EPOLLET;
  event.data.fd = socket;
  ASSERT_EQ(::epoll_ctl(epoll_.number(), EPOLL_CTL_ADD, socket, &event), 0);
  watched_[socket] = std::move(ready);
}

void fake_worker_host::unwatch(int socket) {
  if (watched_.erase(socket) > 0) {
    ::epoll_ctl(epoll_.number(), EPOLL_CTL_DEL, socket, nullptr);
  }
}

void fake_worker_host::launch(start_order what) {
  const std::uint64_t id = what.worker;
  ++launches_;
  workers_.emplace(id, std::make_unique<fake_worker>(std::move(what), owners_.at(id).lock()));
}

void fake_worker_host::signal(std::uint64_t worker, int number) {
  if (const auto found = workers_.find(worker); found != workers_.end()) {
    found->second->signals_.push_back(number);
  }
}

void fake_worker_host::call_at(steady_time when, std::function<void()> function) {
  timers_.emplace(when, std::move(function));
}

std::uint64_t fake_worker_host::resident_bytes(std::int64_t pid) const {
  const auto found = resident_.find(pid);
  return found == resident_.end() ? 0 : found->second;
}

void fake_worker_host::run() {
  for (;;) {
    std::array<epoll_event, 16> events{};
    const int count = ::epoll_wait(epoll_.number(), events.data(), events.size(), 0);
    if (count <= 0) {
      gone_.clear();
      return;
    }
    for (int i = 0; i < count; ++i) {
      const auto found = watched_.find(events[static_cast<std::size_t>(i)].data.fd);
      if (found != watched_.end()) {
        const auto ready = found->second;
        ready();
      }
    }
  }
}

void fake_worker_host::advance(std::chrono::milliseconds by) {
  const steady_time until = now_ + by;
  run();
  int at_once = 0;
  while (!timers_.empty() && timers_.begin()->first <= until) {
    at_once = timers_.begin()->first > now_ ? 0 : at_once + 1;
    if (at_once > 10'000) {
      throw std::logic_error{"a timer is set for now, again and again"};
    }
    now_ = std::max(now_, timers_.begin()->first);
    const auto function = std::move(timers_.begin()->second);
    timers_.erase(timers_.begin());
    function();
    run();
  }
  now_ = until;
}

std::optional<steady_time> fake_worker_host::next_timer() const {
  return timers_.empty() ? std::nullopt : std::optional{timers_.begin()->first};
}

std::vector<fake_worker*> fake_worker_host::workers() {
  std::vector<fake_worker*> all;
  for (const auto& [id, worker] : workers_) {
    all.push_back(worker.get());
  }
  return all;
}

bool fake_worker_host::come_up() {
  bool some = false;
  for (fake_worker* const worker : workers()) {
    if (worker->launched()) {
      worker->come_up();
      some = true;
    }
  }
  run();
  return some;
}

}  // namespace troupe::test
