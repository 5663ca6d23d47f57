// SPDX-License-Identifier: BSD-3-Clause
#include "troupe/detail/object_link.hpp"
#include "troupe/error.hpp"
#include "troupe/log.hpp"

#include "far_end.hpp"
#include "home_deputies.hpp"
#include "lending.hpp"
#include "process_identity.hpp"
#include "sys.hpp"

#include <atomic>
#include <cstdint>
#include <cstring>
#include <future>
#include <mutex>
#include <string>
#include <thread>
#include <typeinfo>
#include <utility>

namespace troupe::detail {
namespace {

/// A thread that does nothing but live as long as the session: it owns the session's lines in the
/// ledgers, so that they are found to be without an owner also when this process was killed.
class session_owner {
 public:
  session_owner() {
    std::promise<std::uint64_t> started;
    std::future<std::uint64_t> identity = started.get_future();
    const sys::blocked_signals no_handlers_on_our_thread;
    thread_ = std::thread{[this, &started] {
      started.set_value(identity_of_this_thread());
      over_.wait(false);
    }};
    identity_ = identity.get();
  }
  ~session_owner() {
    over_ = true;
    over_.notify_one();
    thread_.join();
  }
  session_owner(const session_owner&) = delete;
  session_owner& operator=(const session_owner&) = delete;

  [[nodiscard]] std::uint64_t identity() const noexcept { return identity_; }

 private:
  std::atomic<bool> over_{false};
  std::uint64_t identity_ = 0;
  std::thread thread_;
};

}  // namespace

class home_session::state {
 public:
  explicit state(std::unique_ptr<object_link> to_remote) : link_{std::move(to_remote)} {}

  void receive(std::span<const std::byte> message);
  void end() noexcept;
  [[nodiscard]] lending& lent() noexcept { return lent_; }

 private:
  void act_on(input_archive& ar, std::span<const std::byte> message);
  void send(std::span<const std::byte> answer) noexcept;
  /// False: it came before.
  [[nodiscard]] bool is_new(std::uint64_t number) noexcept;

  std::mutex sending_;
  std::unique_ptr<object_link> link_;  // guarded by sending_
  std::mutex ending_;
  std::mutex receiving_;
  std::uint64_t last_number_ = 0;  // guarded by receiving_
  std::uint64_t answer_to_ = 0;    // guarded by receiving_
  session_owner owner_;
  lending lent_{owner_.identity()};
  home_deputies deputies_{lent_, [this](std::span<const std::byte> answer) { send(answer); }};
};

void home_session::state::send(std::span<const std::byte> answer) noexcept {
  try {
    const std::lock_guard lock{sending_};
    link_->send({answer.begin(), answer.end()});
  } catch (...) {  // whatever a transport throws
    // The link is cut, or will be as nobody can wait for this for ever: whose it is calls end().
    log(log_level::debug, "troupe: an answer to another machine could not be sent");
  }
}

bool home_session::state::is_new(std::uint64_t number) noexcept {
  return number > last_number_ ? (last_number_ = number, true) : false;
}

void home_session::state::receive(std::span<const std::byte> message) {
  const std::lock_guard lock{receiving_};
  answer_to_ = 0;
  try {
    input_archive ar{message};
    act_on(ar, message);
  } catch (...) {  // hostile, or out of memory or threads: whoever asked is told
    send(failed_answer(answer_to_, std::current_exception()));
  }
}

void home_session::state::act_on(input_archive& ar, std::span<const std::byte> message) {
  std::uint8_t kind = 0;
  std::uint64_t number = 0;
  std::uint64_t thread = 0;
  ar(kind, number, thread);
  // Numbers grow: what comes twice is done once.
  if (!is_new(number)) {
    return;
  }
  switch (static_cast<far_message>(kind)) {
    case far_message::request:
      answer_to_ = number;
      return deputies_.run(number, thread, message);
    case far_message::release: {
      std::uint64_t object = 0;
      std::uint64_t times = 0;
      ar(object, times);
      ar.finish(typeid(far_message));
      return lent_.give_back(object, times);
    }
    case far_message::thread_ended:
      ar.finish(typeid(far_message));
      return deputies_.thread_ended(thread);
  }
  answer_to_ = number;
  ar.fail("no message of a remote process begins like this", typeid(far_message));
}

void home_session::state::end() noexcept {
  const std::lock_guard lock{ending_};
  deputies_.end();
  lent_.end();
}

home_session::home_session(std::unique_ptr<object_link> to_remote)
    : state_{std::make_unique<state>(std::move(to_remote))} {}

home_session::~home_session() {
  end();
}

void home_session::receive(std::span<const std::byte> message) {
  state_->receive(message);
}

void home_session::end() noexcept {
  state_->end();
}

std::vector<std::byte> home_session::pack(const cargo_list& cargo) {
  byte_buffer bytes;
  output_archive ar{bytes};
  state_->lent().save(ar, cargo);
  return {bytes.bytes().begin(), bytes.bytes().end()};
}

cargo_list home_session::unpack(std::span<const std::byte> bytes) {
  input_archive ar{bytes};
  auto found = state_->lent().load(ar);
  ar.finish(typeid(cargo_list));
  return found;
}

}  // namespace troupe::detail
