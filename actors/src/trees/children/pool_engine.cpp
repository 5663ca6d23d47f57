// SPDX-License-Identifier: BSD-3-Clause
#include "trees/children/pool_engine.hpp"

#include "troupe/error.hpp"

#include "os/library_thread.hpp"
#include "pools/engine.hpp"

#include <exception>
#include <utility>

namespace troupe::detail {

pool_engine::pool_engine(child_run how, std::shared_ptr<const pool_maker> make)
    : how_{std::move(how)}, make_{std::move(make)} {}

void pool_engine::start() {
  start_thread("troupe-pool", [self = shared_from_this()] { self->run(); });
}

void pool_engine::take(const engine_ptr& made) {
  bool asked = false;
  bool killed = false;
  {
    const mutex_guard lock{mutex_};
    pool_ = made;
    asked = asked_;
    killed = killed_;
  }
  if (killed) {
    made->kill();
  } else if (asked) {
    made->close();
  }
}

void pool_engine::ask_to_stop() {
  engine_ptr pool;
  {
    const mutex_guard lock{mutex_};
    asked_ = true;
    pool = pool_;
  }
  if (pool) {
    pool->close();
  }
}

void pool_engine::kill() {
  engine_ptr pool;
  {
    const mutex_guard lock{mutex_};
    killed_ = true;
    pool = pool_;
  }
  if (pool) {
    pool->kill();
  }
}

engine_ptr pool_engine::workers() const {
  const mutex_guard lock{mutex_};
  return up_ ? pool_ : nullptr;
}

child_death pool_engine::serve() {
  const engine_ptr pool = (*make_)([this](const engine_ptr& made) { take(made); });
  {
    const mutex_guard lock{mutex_};
    up_ = true;
  }
  how_.events.ready();
  pool->join_until(std::nullopt);
  child_death how{end_cause::finished, {}};
  bool asked = false;
  {
    const mutex_guard lock{mutex_};
    asked = asked_ || killed_;
    up_ = false;
    pool_ = nullptr;
  }
  if (!asked) {
    // Its handles cannot close it, so it is broken. A caller that asks for workers gets the reason.
    how = {end_cause::gave_up, pool->title() + " has ended"};
    try {
      pool->resize(1);
    } catch (const std::exception& why) {
      how.text = why.what();
    }
  }
  pool->end();
  return how;
}

void pool_engine::run() noexcept {
  child_death how;
  try {
    how = serve();
  } catch (...) {
    const mutex_guard lock{mutex_};
    pool_ = nullptr;
    how = death_of_start(std::current_exception());
  }
  how_.events.ended(how);
}

}  // namespace troupe::detail
