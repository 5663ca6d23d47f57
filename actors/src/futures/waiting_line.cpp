// SPDX-License-Identifier: BSD-3-Clause
#include "futures/waiting_line.hpp"

namespace troupe::detail {

void waiting_line::stand(room_turn& turn, std::function<void()> notify) {
  const std::lock_guard lock{mutex_};
  turn.notify_ = std::move(notify);
  turn.state_ = room_turn::state::in_line;
  if (turn.called_before_) {
    line_.push_front(&turn);
  } else {
    line_.push_back(&turn);
  }
  standing_ = line_.size();
}

void waiting_line::leave(room_turn& turn, bool got_in) noexcept {
  bool pass_on = false;
  std::function<void()> dropped;  // may own what must not be destroyed under the lock
  {
    const std::lock_guard lock{mutex_};
    pass_on = turn.state_ == room_turn::state::called && !got_in;
    if (turn.state_ == room_turn::state::in_line) {
      std::erase(line_, &turn);
      standing_ = line_.size();
    }
    turn.state_ = room_turn::state::out;
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
      const std::lock_guard lock{mutex_};
      if (line_.empty()) {
        return;
      }
      room_turn& next = *line_.front();
      line_.pop_front();
      standing_ = line_.size();
      next.state_ = room_turn::state::called;
      next.called_before_ = true;
      notify = std::exchange(next.notify_, nullptr);
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
  // What left the queue before this stood there called nobody.
  if (worth_trying()) {
    line.call_next(1);
  }
}

void wait_turn_on_callbacks(const std::shared_ptr<room_turn>& turn, std::function<void()> notify) {
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
