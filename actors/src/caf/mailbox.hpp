// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "caf/caf.hpp"

#include <functional>
#include <memory>
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
    send_here(system_, actor_, compat::parcel::of<Message>(std::move(what)));
  }
  /// The same with a loop of the caller's own, for a receiver that sends to actors of other
  /// systems.
  void send(Message what, compat::run_loop& loop) {
    compat::deliver(actor_, compat::make_element(compat::parcel::of<Message>(std::move(what))),
                    loop);
    loop.run();
  }
  /// Destroys the receiver after what was sent so far. What is sent later is dropped.
  void close() { send_here(system_, actor_, {}); }

 private:
  caf::actor_system& system_;
  caf::actor actor_;
};

}  // namespace troupe::detail
