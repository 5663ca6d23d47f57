// SPDX-License-Identifier: BSD-3-Clause
#include "futures/waiting_line.hpp"

namespace troupe::detail {

void waiting_line::stand(room_turn& turn, std::function<void()> notify) {
  const mutex_guard lock{mutex_};
  turn.notify_ = std::move(notify);
  line_.stand(turn);
  standing_ = line_.size();
}

void waiting_line::leave(room_turn& turn, bool got_in) noexcept {
  bool pass_on = false;
  std::function<void()> dropped;  // may own what must not be destroyed under the lock
  {
    const mutex_guard lock{mutex_};
    pass_on = line_.leave(turn, got_in);
    standing_ = line_.size();
    dropped = std::move(turn.notify_);
  }
  if (pass_on) {
    call_next(1);
  }
}

void waiting_line::call_next(std::uint64_t turns) noexcept {
  for (; turns > 0; --turns) {
    std::function<void()> notify;
    {
      const mutex_guard lock{mutex_};
      room_line::place* const next = line_.call();
      if (next == nullptr) {
        return;
      }
      standing_ = line_.size();
      notify = std::exchange(static_cast<room_turn*>(next)->notify_, nullptr);
    }
    notify();
  }
}

void wait_turn(const std::shared_ptr<room_turn>& turn, std::function<void()> notify) {
  // The turn may be over before this returns.
  const auto owner = turn->owner_;
  waiting_line& line = turn->line_;
  const auto worth_trying = turn->worth_trying_;
  line.stand(*turn, std::move(notify));
  // What left the queue before this stood there called no other one.
  if (worth_trying()) {
    line.call_next(1);
  }
}

void wait_turn_on_callbacks(const std::shared_ptr<room_turn>& turn, std::function<void()> notify) {
  turn->callbacks_(nullptr);  // throws here, and not where the turn comes
  wait_turn(turn, [run = turn->callbacks_, notify = std::move(notify)]() mutable {
    run(std::move(notify));
  });
}

void took_turn(room_turn& turn) noexcept {
  turn.line_.leave(turn, true);
}
void leave_turn(room_turn& turn) noexcept {
  turn.line_.leave(turn, false);
}

}  // namespace troupe::detail
