// SPDX-License-Identifier: BSD-3-Clause
#include "trees/children/local_engine.hpp"

#include "troupe/log.hpp"

#include "trees/service/service_run.hpp"
#include "trees/service/service_threads.hpp"

#include <chrono>
#include <string_view>
#include <utility>

namespace troupe::detail {
namespace {

/// From a kill to the time when it is given up.
constexpr std::chrono::milliseconds time_to_return{2'000};

}  // namespace

local_engine::local_engine(child_run how, std::shared_ptr<const process_plan> plan)
    : how_{std::move(how)}, plan_{std::move(plan)} {}

void local_engine::start() {
  const auto weak = weak_from_this();
  const auto said = [weak, loop = how_.loop](line_kind what, std::string_view text) {
    loop->post([weak, what, text = std::string{text}] {
      const auto self = weak.lock();
      if (self && self->alive_) {
        self->watch_->on_line(what, text);
        self->watch_->set_alarm();
      }
    });
  };
  service_threads& threads = how_.loop->services();
  state_ = std::make_shared<service_state>(role_of(*plan_, how_.run), threads.make_host(said));
  watch_ = std::make_shared<service_watch>(how_, plan_, [weak](bool) {
    if (const auto self = weak.lock()) {
      self->kill();
    }
  });
  if (plan_->probe) {
    parts_ = 2;
  }
  if (plan_->coroutine) {
    begin_coroutine();
  } else {
    begin_function();
  }
  alive_ = true;
  if (plan_->probe) {
    try {
      threads.start("troupe-probe", [self = shared_from_this()] {
        {
          const as_service scope{*self->state_};
          run_probes(*self->state_, self->plan_->probe);
        }
        self->leave(nullptr);
      });
    } catch (...) {
      state_->stop.request_stop();
      leave(std::current_exception());
    }
  }
  if (!plan_->service || plan_->ready_at_start || plan_->every) {
    state_->ready = true;
    watch_->on_line(line_kind::ready, {});
    watch_->set_alarm();
  }
}

void local_engine::begin_function() {
  how_.loop->services().start("troupe-service", [self = shared_from_this()] {
    std::exception_ptr thrown;
    try {
      const as_service scope{*self->state_};
      if (self->plan_->service) {
        run_service(*self->state_, self->plan_->target);
      } else {
        self->plan_->target();
      }
    } catch (...) {  // of the user's
      thrown = std::current_exception();
    }
    self->leave(thrown);
  });
}

void local_engine::begin_coroutine() {
  where_ = how_.loop->services().next();
  coroutine_ = std::make_shared<service_coroutine>(
      state_, where_, plan_->target,
      [self = shared_from_this()](const std::exception_ptr& thrown) { self->leave(thrown); });
  coroutine_->begin();
}

void local_engine::leave(const std::exception_ptr& thrown) {
  if (thrown) {
    state_->host->say(line_kind::threw, text_of(thrown), true);
  }
  if (parts_ > 1) {
    state_->stop.request_stop();  // the other part ends, too
  }
  if (--parts_ == 0) {
    how_.loop->post([self = shared_from_this()] { self->on_end(); });
  }
}

void local_engine::on_end() {
  finish(watch_->because().value_or(child_death{end_cause::finished, {}}));
}

void local_engine::finish(const child_death& how) {
  if (std::exchange(alive_, false)) {
    watch_->end();
    // It keeps this object; one that is abandoned would do so for ever.
    coroutine_.reset();
    where_.reset();
    how_.events.ended(how);
  }
}

void local_engine::ask_to_stop() {
  if (!alive_ || !plan_->service) {
    return;  // a plain function hears nothing
  }
  if (coroutine_) {
    coroutine_->ask_to_stop();
  }
  // A coroutine that keeps its thread, in a blocking call most likely, would hear of it too late.
  if (!coroutine_ || where_->runs(*state_)) {
    // Not here: it may call code of the user.
    how_.loop->services().run_aside([state = state_] { state->stop.request_stop(); });
  }
}

void local_engine::kill() {
  if (!alive_) {
    return;
  }
  if (!plan_->service) {
    abandon();
    return;
  }
  ask_to_stop();
  how_.loop->call_at(later(how_.loop->now(), time_to_return), [weak = weak_from_this()] {
    if (const auto self = weak.lock()) {
      self->abandon();
    }
  });
}

void local_engine::abandon() {
  if (!alive_) {
    return;
  }
  if (where_) {
    how_.loop->services().abandon(where_, *state_);
  }
  log(log_level::warning,
      "child '" + how_.path + "' does not end, and threads cannot be killed: it is abandoned");
  child_death how = watch_->because().value_or(child_death{end_cause::signal, "killed"});
  how.text += ", and abandoned: threads cannot be killed";
  finish(how);
}

bool local_engine::die(const child_death& how) {
  if (alive_) {
    ask_to_stop();
    finish(how);
  }
  return true;
}

}  // namespace troupe::detail
