// SPDX-License-Identifier: BSD-3-Clause
#include "troupe/error.hpp"
#include "troupe/log.hpp"

#include "base/thread_safety.hpp"
#include "os/process_identity.hpp"
#include "os/sys.hpp"
#include "shared/export/export_proxies.hpp"
#include "shared/export/exporting.hpp"
#include "shared/remote/imported_object.hpp"
#include "shared/remote/object_sink.hpp"

#include <atomic>
#include <cstdint>
#include <cstring>
#include <future>
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

class export_session::state {
 public:
  explicit state(std::unique_ptr<object_sink> to_remote) : link_{std::move(to_remote)} {}

  void receive(std::span<const std::byte> message);
  void end() noexcept;
  [[nodiscard]] exporting& exported() noexcept { return exported_; }

 private:
  void act_on(input_archive& ar, std::span<const std::byte> message) TROUPE_REQUIRES(receiving_);
  void send(std::span<const std::byte> answer) noexcept;
  /// False: it came before.
  [[nodiscard]] bool is_new(std::uint64_t number) noexcept TROUPE_REQUIRES(receiving_);

  guarded_mutex sending_;
  const std::unique_ptr<object_sink> link_ TROUPE_PT_GUARDED_BY(sending_);
  guarded_mutex ending_;  // the second end() returns after the first one
  guarded_mutex receiving_;
  std::uint64_t last_number_ TROUPE_GUARDED_BY(receiving_) = 0;
  std::uint64_t answer_to_ TROUPE_GUARDED_BY(receiving_) = 0;
  session_owner owner_;
  exporting exported_{owner_.identity()};
  export_proxies proxies_{exported_, [this](std::span<const std::byte> answer) { send(answer); }};
};

void export_session::state::send(std::span<const std::byte> answer) noexcept {
  try {
    const mutex_guard lock{sending_};
    link_->send({answer.begin(), answer.end()});
  } catch (...) {  // whatever a transport throws
    // The link is cut, or its owner will cut it, as a transport that cannot send is of no use: the
    // owner calls end().
    log(log_level::debug, "troupe: an answer to another machine could not be sent");
  }
}

bool export_session::state::is_new(std::uint64_t number) noexcept {
  return number > last_number_ ? (last_number_ = number, true) : false;
}

void export_session::state::receive(std::span<const std::byte> message) {
  const mutex_guard lock{receiving_};
  answer_to_ = 0;
  try {
    input_archive ar{message};
    act_on(ar, message);
  } catch (...) {  // hostile, or out of memory or threads: the importer is told
    send(failed_answer(answer_to_, std::current_exception()));
  }
}

void export_session::state::act_on(input_archive& ar, std::span<const std::byte> message) {
  std::uint8_t kind = 0;
  std::uint64_t number = 0;
  std::uint64_t thread = 0;
  ar(kind, number, thread);
  // Numbers grow: what comes twice is done once.
  if (!is_new(number)) {
    return;
  }
  switch (static_cast<remote_message>(kind)) {
    case remote_message::request:
      answer_to_ = number;
      return proxies_.run(number, thread, message);
    case remote_message::release: {
      std::uint64_t object = 0;
      std::uint64_t times = 0;
      ar(object, times);
      ar.finish(typeid(remote_message));
      return exported_.give_back(object, times);
    }
    case remote_message::thread_ended:
      ar.finish(typeid(remote_message));
      return proxies_.thread_ended(thread);
  }
  answer_to_ = number;
  ar.fail("no message of a remote process begins like this", typeid(remote_message));
}

void export_session::state::end() noexcept {
  const mutex_guard lock{ending_};
  proxies_.end();
  exported_.end();
}

export_session::export_session(std::unique_ptr<object_sink> to_remote)
    : state_{std::make_unique<state>(std::move(to_remote))} {}

export_session::~export_session() {
  end();
}

void export_session::receive(std::span<const std::byte> message) {
  state_->receive(message);
}

void export_session::end() noexcept {
  state_->end();
}

std::vector<std::byte> export_session::pack(const attachment_list& attachments) {
  byte_buffer bytes;
  output_archive ar{bytes};
  state_->exported().save(ar, attachments);
  return {bytes.bytes().begin(), bytes.bytes().end()};
}

attachment_list export_session::unpack(std::span<const std::byte> bytes) {
  input_archive ar{bytes};
  auto found = state_->exported().load(ar);
  ar.finish(typeid(attachment_list));
  return found;
}

}  // namespace troupe::detail
