// SPDX-License-Identifier: BSD-3-Clause
// A pool on a fake_worker_host, and what its tests say of tasks.
#pragma once

#include "pools/process/pool_core_impl.hpp"
#include "pools/submission/process_submission.hpp"
#include "support/fake_worker_host.hpp"

#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace troupe::test {

using submitted = std::shared_ptr<detail::process_submission>;

/// Test fixtures that use it end their pool when they are gone.
class FakePool : public testing::Test {
 protected:
  ~FakePool() override {
    if (pool_) {
      end();
    }
  }

  /// Makes the pool and starts its workers; `come_up` of the host lets them come up.
  void begin(pool_options options) {
    pool_ = std::make_shared<detail::pool_core>(host_, options);
    pool_->begin();
  }
  /// The same, and all workers are ready.
  void make(pool_options options) {
    begin(std::move(options));
    host_->come_up();
  }
  /// Kills the pool and lets its workers die.
  void end() {
    pool_->kill();
    let_killed_die();
    pool_.reset();
  }

  /// A task of one item, or of several.
  submitted submit(const std::vector<std::string>& items, const task_options& how = {},
                   std::shared_ptr<detail::submission_group> group = nullptr) {
    detail::submission_builder built{detail::engine_ptr{pool_}};
    built.callable([](detail::byte_sink& to) { to.append("f", 1); });
    for (const std::string& item : items) {
      built.item([&](detail::byte_sink& to) { to.append(item.data(), item.size()); });
    }
    auto made =
        pool_->submit(std::move(built), detail::share_options(how), std::move(group), 0, false);
    host_->run();
    return made;
  }
  submitted submit(const std::string& item, const task_options& how = {}) {
    return submit(std::vector<std::string>{item}, how);
  }

  fake_worker& worker(std::size_t index) { return host_->worker(index); }
  /// The arguments of what that worker claims next; "" for nothing.
  std::string claims(fake_worker& by) {
    const auto next = by.claim();
    host_->run();
    return next ? next->arguments : std::string{};
  }
  /// The first task that it has claimed ends with its arguments as its value.
  void gives(fake_worker& by, std::chrono::nanoseconds took = std::chrono::milliseconds{5}) {
    ASSERT_FALSE(by.claimed().empty());
    const auto first = by.claimed().front();
    by.give(first.number, first.arguments, took);
    host_->run();
  }
  /// The same, but the supervisor has not read it when something else happens.
  void gives_unheard(fake_worker& by) {
    ASSERT_FALSE(by.claimed().empty());
    const auto first = by.claimed().front();
    by.give_unheard(first.number, first.arguments);
  }
  /// Claims and gives everything it gets, until there is no more.
  void works(fake_worker& by) {
    while (!claims(by).empty()) {
      gives(by);
    }
  }
  /// Every worker works, and those that were told to leave do, until nothing happens any more.
  void let_all_work() {
    for (bool some = true; some;) {
      some = let_killed_die() || host_->come_up();
      for (fake_worker* const one : host_->workers()) {
        if (!one->running() || !one->has_channel()) {
          continue;
        }
        while (!one->claimed().empty()) {
          gives(*one);
          some = true;
        }
        if (!claims(*one).empty()) {
          some = true;
        } else if (one->told_to_stop()) {
          one->exit(0);
          host_->run();
          some = true;
        }
      }
    }
  }
  /// Workers that got a deadly signal die of it. True: there were some.
  bool let_killed_die() {
    bool some = false;
    for (bool more = true; more;) {
      more = false;
      for (fake_worker* const one : host_->workers()) {
        if (!one->ended() && (one->got(SIGKILL) || one->got(SIGTERM))) {
          if (one->launched()) {
            one->start();
          }
          one->die_of(one->got(SIGKILL) ? SIGKILL : SIGTERM);
          host_->run();
          some = more = true;
          break;  // the list is another one now
        }
      }
    }
    return some;
  }
  /// Its worker ends, and the supervisor hears of it.
  void dies(fake_worker& one, int signal = SIGSEGV) {
    one.die_of(signal);
    host_->run();
  }

  static std::string value(const submitted& work, std::uint32_t item = 0) {
    if (!work->done()) {
      return "pending";
    }
    if (const failure* const why = work->item_failure(item)) {
      return "failed: " + why->text;
    }
    const auto bytes = work->value(item);
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }
  /// What it failed with; ok: with nothing, or it is not done.
  static errc code(const submitted& work, std::uint32_t item = 0) {
    const failure* const why = work->done() ? work->item_failure(item) : nullptr;
    return why == nullptr ? errc::ok : why->code;
  }
  static std::string text(const submitted& work, std::uint32_t item = 0) {
    const failure* const why = work->done() ? work->item_failure(item) : nullptr;
    return why == nullptr ? "" : why->text;
  }
  [[nodiscard]] bool finished() const {
    return pool_->join_until(std::chrono::steady_clock::time_point{});
  }

  std::shared_ptr<fake_worker_host> host_ = std::make_shared<fake_worker_host>();
  std::shared_ptr<detail::pool_core> pool_;
};

}  // namespace troupe::test
