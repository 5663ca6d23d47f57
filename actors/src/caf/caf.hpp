// SPDX-License-Identifier: BSD-3-Clause
#pragma once

// The one place that knows which CAF this is built on: 0.17.6 (Debian 12's package) or 1.x.
// What actors of the library send to each other is a parcel, or of the types that every CAF can
// carry without registration: (uint32, uint64, string).

#include <caf/actor.hpp>
#include <caf/actor_cast.hpp>
#include <caf/actor_system.hpp>
#include <caf/actor_system_config.hpp>
#include <caf/allowed_unsafe_message_type.hpp>
#include <caf/event_based_actor.hpp>
#include <caf/mailbox_element.hpp>
#include <caf/send.hpp>

#if CAF_MAJOR_VERSION >= 1
#define TROUPE_CAF1 1
#include <caf/anon_mail.hpp>
#include <caf/init_global_meta_objects.hpp>
#include <caf/scheduler.hpp>
#include <caf/type_id.hpp>
#else
#define TROUPE_CAF1 0
#include <caf/atom.hpp>
#include <caf/execution_unit.hpp>
#include <caf/logger.hpp>
#endif

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace troupe::compat {

/// A value on its way to an actor of the same process. CAF moves it, and neither looks into it nor
/// sends it anywhere else.
class parcel {
 public:
  parcel() = default;
  template <class T>
  static parcel of(T what) {
    parcel made;
    made.what_ = std::make_shared<T>(std::move(what));
    return made;
  }
  /// What `of<T>` put in; null: it is empty. The receiver knows what it is sent.
  template <class T>
  [[nodiscard]] T* open() const noexcept {
    return static_cast<T*>(what_.get());
  }

 private:
  std::shared_ptr<void> what_;
};

}  // namespace troupe::compat

CAF_ALLOW_UNSAFE_MESSAGE_TYPE(troupe::compat::parcel)
#if TROUPE_CAF1
CAF_BEGIN_TYPE_ID_BLOCK(troupe, caf::first_custom_type_id + 1000)
CAF_ADD_TYPE_ID(troupe, (troupe::compat::parcel))
CAF_END_TYPE_ID_BLOCK(troupe)
#endif

namespace troupe::compat {

#if TROUPE_CAF1
using execution = caf::scheduler;
#else
using execution = caf::execution_unit;
#endif

/// CAF keeps in every thread that spawns a reference to the logger of that system, for log lines
/// that none of our builds has. A system's end waits for the last reference, so for the end of a
/// thread that once made a pool; and where the thread's own objects are gone already, the end drops
/// the reference once more, on freed memory.
inline void forget_logger() noexcept {
#if TROUPE_CAF1
  caf::logger::current_logger(nullptr);
#else
  caf::logger::set_current_actor_system(nullptr);
#endif
}

template <class Actor, caf::spawn_options Options, class... Ts>
caf::actor spawn(caf::actor_system& system, Ts&&... values) {
  caf::actor made = system.spawn<Actor, Options>(std::forward<Ts>(values)...);
  forget_logger();
  return made;
}

inline std::unique_ptr<caf::actor_system> make_system(caf::actor_system_config& config) {
  auto made = std::make_unique<caf::actor_system>(config);
  forget_logger();
  return made;
}

/// Once, before the first actor system.
inline void init_types() {
#if TROUPE_CAF1
  caf::init_global_meta_objects<caf::id_block::troupe>();
  caf::core::init_global_meta_objects();
#endif
}

/// One scheduler thread that sleeps when idle: the default of CAF wakes up a thousand times a
/// second, and our actors do not run there anyway.
inline void configure(caf::actor_system_config& config) {
#if TROUPE_CAF1
  config.set("caf.scheduler.policy", "sharing");
  config.set("caf.scheduler.max-threads", std::size_t{1});
#else
  config.set("scheduler.policy", caf::atom("sharing"));
  config.set("scheduler.max-threads", std::size_t{1});
#endif
}

/// For a system whose actors are all pinned: nothing is ever left to its scheduler. With 0.17.6 no
/// thread is made, neither for that nor for CAF's clock and printer; see decision 0013.
inline void configure_without_threads(caf::actor_system_config& config) {
  configure(config);
#if !TROUPE_CAF1
  config.set("scheduler.policy", caf::atom("testing"));
#endif
}

/// Not called make_message: CAF 1.x calls that name without its namespace, and would find this one
/// for the types of this namespace.
template <class... Ts>
caf::mailbox_element_ptr make_element(Ts&&... values) {
#if TROUPE_CAF1
  return caf::make_mailbox_element(nullptr, caf::make_message_id(), std::forward<Ts>(values)...);
#else
  return caf::make_mailbox_element(nullptr, caf::make_message_id(), caf::no_stages,
                                   std::forward<Ts>(values)...);
#endif
}

/// Resumes actors on the thread that calls `run`: an actor whose `enqueue` names this loop is run
/// by the thread that sent to it, and its mailbox lets one thread in at a time.
class run_loop final : public execution {
 public:
  explicit run_loop([[maybe_unused]] caf::actor_system& system)
#if !TROUPE_CAF1
      : execution{&system}
#endif
  {
  }

#if TROUPE_CAF1
  void schedule(caf::resumable* job) override { jobs_.push_back(job); }
  void delay(caf::resumable* job) override { jobs_.push_back(job); }
  void start() override {}
  void stop() override {}
#else
  void exec_later(caf::resumable* job) override { jobs_.push_back(job); }
#endif

  /// Until nothing is left to do here. Calls from within are left to the outermost one.
  void run() {
    if (running_) {
      return;
    }
    running_ = true;
    while (!jobs_.empty()) {
      caf::resumable* const job = jobs_.back();
      jobs_.pop_back();
      if (job->resume(this, messages_per_resume) == caf::resumable::resume_later) {
        jobs_.push_back(job);
      } else {
        intrusive_ptr_release(job);
      }
    }
    running_ = false;
  }

 private:
  static constexpr std::size_t messages_per_resume = 64;
  std::vector<caf::resumable*> jobs_;
  bool running_ = false;
};

/// An actor that runs on the thread that sends to it.
///
/// A plain actor of CAF up to 1.1 runs on the scheduler, a thread hop (9 us there and back on a
/// two-core machine) away from the bytes.
class pinned_actor : public caf::event_based_actor {
 public:
  using caf::event_based_actor::event_based_actor;
#if TROUPE_CAF1
  bool enqueue(caf::mailbox_element_ptr message, execution* where) override {
    return caf::event_based_actor::enqueue(std::move(message), where);
  }
#endif
};

inline void deliver(const caf::actor& to, caf::mailbox_element_ptr message, run_loop& loop) {
  caf::actor_cast<caf::abstract_actor*>(to)->enqueue(std::move(message), &loop);
}

/// Sends from outside of any actor to an actor that runs on CAF's own threads.
template <class... Ts>
void send(const caf::actor& to, Ts&&... values) {
#if TROUPE_CAF1
  caf::anon_mail(std::forward<Ts>(values)...).send(to);
#else
  caf::anon_send(to, std::forward<Ts>(values)...);
#endif
}

}  // namespace troupe::compat
