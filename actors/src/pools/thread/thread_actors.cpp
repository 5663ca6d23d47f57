// SPDX-License-Identifier: BSD-3-Clause
#include "pools/thread/thread_actors.hpp"

#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <mutex>
#include <string>
#include <utility>

namespace troupe::detail {
namespace {

class all_signals_blocked {
 public:
  all_signals_blocked() {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old_);
  }
  ~all_signals_blocked() { pthread_sigmask(SIG_SETMASK, &old_, nullptr); }
  all_signals_blocked(const all_signals_blocked&) = delete;
  all_signals_blocked& operator=(const all_signals_blocked&) = delete;

 private:
  sigset_t old_{};
};

class turn_actor final : public caf::event_based_actor {
 public:
  turn_actor(caf::actor_config& config, std::function<bool()> turn)
      : caf::event_based_actor{config}, turn_{std::move(turn)} {}

  caf::behavior make_behavior() override {
    return {[this](std::uint32_t, std::uint64_t, const std::string&) {
      if (!turn_()) {
        turn_ = nullptr;
        quit();
      }
    }};
  }

 private:
  std::function<bool()> turn_;
};

/// A child that was forked from a running program has the memory of its parent's actors and none of
/// their threads: it makes its own, and never touches (or frees) those.
struct shared_place {
  pid_t pid = ::getpid();
  std::mutex mutex;
  thread_actors* current = nullptr;  // guarded by mutex
};

shared_place& place() {
  static std::atomic<shared_place*> here{nullptr};
  shared_place* now = here.load();
  while (now == nullptr || now->pid != ::getpid()) {
    auto* const fresh = new shared_place;
    if (here.compare_exchange_strong(now, fresh)) {
      return *fresh;
    }
    delete fresh;
  }
  return *now;
}

}  // namespace

thread_actors::thread_actors() {
  const all_signals_blocked while_threads_start;
  compat::init_types();
  config_ = std::make_unique<caf::actor_system_config>();
  compat::configure(*config_);
  system_ = compat::make_system(*config_);
}

thread_actors& thread_actors::get() {
  shared_place& here = place();
  const std::lock_guard lock{here.mutex};
  if (here.current == nullptr) {
    here.current = new thread_actors;
  }
  return *here.current;
}

caf::actor thread_actors::spawn(std::function<bool()> turn) {
  const all_signals_blocked while_thread_starts;
  return compat::spawn<turn_actor, caf::detached>(*system_, std::move(turn));
}

void thread_actors::wake(const caf::actor& sleeping) {
  compat::send(sleeping, std::uint32_t{1}, std::uint64_t{0}, std::string{});
}

}  // namespace troupe::detail
