// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/detail/futex.hpp"

#include "caf/caf.hpp"

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <utility>

// Actors of this process that run on the thread that sends to them, and what is sent to them.
namespace troupe::detail {

/// Sends to an actor that runs on the threads that send to it, and runs it on the calling one.
void send_here(caf::actor_system& system, const caf::actor& to, compat::parcel message);
/// Called in a forked process: drops the sends that threads of the parent had begun.
void forget_sends_of_parent() noexcept;

/// Runs `open` for each parcel until it returns false.
caf::actor spawn_mailbox(caf::actor_system& system, std::function<bool(compat::parcel&)> open);

/// Owns a `Receiver` and gives it values of one type, one at a time and in the order in which they
/// were sent, on one of the threads that send. `Receiver::handle` may send here, too.
///
/// @threads any, all members.
template <class Message, class Receiver>
class mailbox {
 public:
  mailbox(caf::actor_system& system, std::unique_ptr<Receiver> receiver)
      : system_{system},
        actor_{spawn_mailbox(system, [receiver = std::shared_ptr<Receiver>{std::move(receiver)}](
                                         compat::parcel& what) mutable {
          if (auto* const message = what.template open<Message>()) {
            receiver->handle(*message);
            return true;
          }
          receiver.reset();
          return false;
        })} {}
  mailbox(const mailbox&) = delete;
  mailbox& operator=(const mailbox&) = delete;
  ~mailbox() = default;

  void send(Message what) {
    const sending here{*this};
    if (here) {
      send_here(system_, actor_, compat::parcel::of<Message>(std::move(what)));
    }
  }
  /// The same with a loop of the caller's own, for a receiver that sends to actors of other
  /// systems.
  void send(Message what, compat::run_loop& loop) {
    const sending here{*this};
    if (!here) {
      return;
    }
    compat::deliver(actor_, compat::make_element(compat::parcel::of<Message>(std::move(what))),
                    loop);
    loop.run();
  }
  /// Destroys the receiver after what was sent so far. What is sent later is dropped.
  void close() {
    const sending here{*this};
    if (here) {
      send_here(system_, actor_, {});
    }
  }
  /// Drops what is sent from now on, before it gets to the actor, so that the actor system may end.
  ///
  /// @blocks until the sends have returned that other threads have begun; not for a sending thread.
  void shut() noexcept {
    for (std::uint32_t now = senders_.fetch_or(is_shut) | is_shut; now != is_shut;
         now = senders_.load()) {
      futex_wait(senders_, now, std::nullopt);
    }
  }

 private:
  static constexpr std::uint32_t is_shut = std::uint32_t{1} << 31;

  /// A thread is in a send. False: the mailbox is shut.
  class sending {
   public:
    explicit sending(mailbox& to) : to_{to}, let_in_{(to.senders_.fetch_add(1) & is_shut) == 0} {}
    sending(const sending&) = delete;
    sending& operator=(const sending&) = delete;
    ~sending() {
      if (to_.senders_.fetch_sub(1) - 1 == is_shut) {
        futex_wake_all(to_.senders_);
      }
    }
    explicit operator bool() const noexcept { return let_in_; }

   private:
    mailbox& to_;
    const bool let_in_;
  };

  caf::actor_system& system_;
  caf::actor actor_;
  std::atomic<std::uint32_t> senders_{0};
};

}  // namespace troupe::detail
