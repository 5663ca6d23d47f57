// SPDX-License-Identifier: BSD-3-Clause
#include "caf/mailbox.hpp"

#include "base/thread_owned.hpp"

namespace troupe::detail {
namespace {

class mailbox_actor final : public compat::pinned_actor {
 public:
  mailbox_actor(caf::actor_config& config, std::function<bool(compat::parcel&)> open)
      : compat::pinned_actor{config}, open_{std::move(open)} {}

  caf::behavior make_behavior() override {
    return {[this](compat::parcel& what) {
      if (open_ && !open_(what)) {
        open_ = nullptr;
        quit();
      }
    }};
  }

 private:
  std::function<bool(compat::parcel&)> open_;
};

struct kept_loop {
  std::unique_ptr<compat::run_loop> loop;
  const caf::actor_system* of = nullptr;
};

/// On a thread whose kept loop is gone: that of the outermost call of `send_here`.
constinit thread_local compat::run_loop* late_loop = nullptr;

}  // namespace

caf::actor spawn_mailbox(caf::actor_system& system, std::function<bool(compat::parcel&)> open) {
  return compat::spawn<mailbox_actor, caf::lazy_init>(system, std::move(open));
}

void send_here(caf::actor_system& system, const caf::actor& to, compat::parcel what) {
  auto message = compat::make_element(std::move(what));
  if (kept_loop* const kept = thread_owned<kept_loop>::get()) {
    if (kept->of != &system) {
      kept->loop = std::make_unique<compat::run_loop>(system);
      kept->of = &system;
    }
    compat::deliver(to, std::move(message), *kept->loop);
    return kept->loop->run();
  }
  if (late_loop != nullptr) {
    return compat::deliver(to, std::move(message), *late_loop);
  }
  compat::run_loop loop{system};
  late_loop = &loop;
  compat::deliver(to, std::move(message), loop);
  loop.run();
  late_loop = nullptr;
}

void forget_sends_of_parent() noexcept {
  late_loop = nullptr;
}

}  // namespace troupe::detail
