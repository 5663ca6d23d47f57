// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "trees/children/child_engine.hpp"
#include "trees/children/tree_loop.hpp"
#include "trees/supervisor_node.hpp"

#include <atomic>
#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace troupe::detail {

/// A loop that runs when the test says so, with a clock that the test sets.
class fake_loop final : public tree_loop {
 public:
  bool post(std::function<void()> function) override {
    const std::scoped_lock lock{mutex_};
    posted_.push_back(std::move(function));
    return true;
  }
  [[nodiscard]] steady_time now() const override {
    const std::scoped_lock lock{mutex_};
    return now_;
  }
  std::uint64_t call_at(steady_time when, std::function<void()> function) override {
    const std::scoped_lock lock{mutex_};
    timers_.emplace(std::pair{when, ++last_}, std::move(function));
    return last_;
  }
  void cancel(std::uint64_t timer) override {
    const std::scoped_lock lock{mutex_};
    std::erase_if(timers_, [timer](const auto& one) { return one.first.second == timer; });
  }
  [[nodiscard]] bool is_here() const override { return false; }

  /// Runs what was posted, and what that posts.
  void run() {
    for (std::function<void()> next = take(); next; next = take()) {
      next();
    }
  }
  /// Lets so much time pass, timer by timer.
  void pass(std::chrono::nanoseconds time) {
    run();
    const steady_time until = now() + time;
    for (std::function<void()> due = take_due(until); due; due = take_due(until)) {
      due();
      run();
    }
    const std::scoped_lock lock{mutex_};
    now_ = until;
  }
  [[nodiscard]] std::size_t timers() const {
    const std::scoped_lock lock{mutex_};
    return timers_.size();
  }

 private:
  std::function<void()> take() {
    const std::scoped_lock lock{mutex_};
    if (posted_.empty()) {
      return {};
    }
    std::function<void()> first = std::move(posted_.front());
    posted_.pop_front();
    return first;
  }
  std::function<void()> take_due(steady_time until) {
    const std::scoped_lock lock{mutex_};
    if (timers_.empty() || timers_.begin()->first.first > until) {
      return {};
    }
    now_ = std::max(now_, timers_.begin()->first.first);
    std::function<void()> first = std::move(timers_.begin()->second);
    timers_.erase(timers_.begin());
    return first;
  }

  mutable std::mutex mutex_;
  steady_time now_{std::chrono::hours{1}};
  std::deque<std::function<void()>> posted_;
  std::map<std::pair<steady_time, std::uint64_t>, std::function<void()>> timers_;
  std::uint64_t last_ = 0;
};

/// Children without processes: they write down what is asked of them, and do what the test says.
class fake_children {
 public:
  [[nodiscard]] definition_ptr make(child_spec spec) {
    return std::make_shared<const child_definition>(child_definition{
        std::move(spec), "fake", [this](const child_run& how) { return begin(how); }, nullptr});
  }
  [[nodiscard]] std::vector<definition_ptr> make(const std::vector<child_spec>& specs) {
    std::vector<definition_ptr> made;
    for (const child_spec& one : specs) {
      made.push_back(make(one));
    }
    return made;
  }

  void ready(const std::string& path) { runs_.at(path).events.ready(); }
  void ignored(const std::string& path) { runs_.at(path).events.ignored(); }
  void end(const std::string& path, end_cause cause = end_cause::signal,
           const std::string& text = {}) {
    runs_.at(path).events.ended({cause, text});
  }
  /// The next start of that child throws.
  void refuse_next(const std::string& path) { refused_ = path; }
  /// All children are ready at once, and end when they are asked.
  void cooperate() { cooperate_ = true; }
  [[nodiscard]] const child_run& run(const std::string& path) const { return runs_.at(path); }
  /// What was asked of the children since the last time: "start a, ask b".
  [[nodiscard]] std::string log() { return std::exchange(log_, {}); }

 private:
  class engine final : public child_engine {
   public:
    engine(fake_children& all, child_run how) : all_{all}, how_{std::move(how)} {}
    void start() override {
      all_.note("start", how_.path);
      if (std::exchange(all_.refused_, {}) == how_.path) {
        throw std::runtime_error{"no"};
      }
      all_.runs_.insert_or_assign(how_.path, how_);
      if (all_.cooperate_) {
        how_.events.ready();
      }
    }
    void ask_to_stop() override {
      all_.note("ask", how_.path);
      if (all_.cooperate_) {
        how_.events.ended({end_cause::signal, {}});
      }
    }
    void kill() override {
      all_.note("kill", how_.path);
      if (all_.cooperate_) {
        how_.events.ended({end_cause::signal, {}});
      }
    }

   private:
    fake_children& all_;
    child_run how_;
  };
  friend class engine;

  std::shared_ptr<child_engine> begin(const child_run& how) {
    return std::make_shared<engine>(*this, how);
  }
  void note(const char* what, const std::string& path) {
    log_ += (log_.empty() ? "" : ", ") + std::string{what} + " " + path;
  }

  std::map<std::string, child_run> runs_;
  std::string refused_;
  bool cooperate_ = false;
  std::string log_;
};

/// One supervisor over such children.
class fake_tree {
 public:
  fake_tree(const supervisor_rules& rules, const std::vector<child_spec>& specs)
      : node_{std::make_shared<supervisor_node>(
            loop_, "", rules, children_.make(specs),
            supervisor_node::listener{
                [this] { ready_ = true; },
                [this](const supervisor_outcome& how) { outcome_ = how; },
                [this](const supervisor_event& event) { events_.push_back(event); }})} {}

  std::string start() { return feed(start_requested{}); }
  std::string stop() { return feed(stop_requested{}); }
  std::string feed(const supervision_event& event) {
    node_->feed(event);
    return log();
  }
  std::string ready(const std::string& path) {
    children_.ready(path);
    return log();
  }
  std::string end(const std::string& path, end_cause cause = end_cause::signal,
                  const std::string& text = {}) {
    children_.end(path, cause, text);
    return log();
  }
  std::string pass(std::chrono::nanoseconds time) {
    loop_->pass(time);
    return log();
  }
  /// What happened to the children, when all that was posted has been done.
  std::string log() {
    loop_->run();
    return children_.log();
  }
  /// Asks on another thread, as users do, until there is an answer.
  request_result ask(const std::function<request_result(supervisor_node&)>& question,
                     const std::function<void()>& meanwhile = {}) {
    request_result result;
    std::atomic<bool> done{false};
    std::jthread asker{[&] {
      result = question(*node_);
      done = true;
    }};
    while (!done) {
      loop_->run();
      if (meanwhile) {
        meanwhile();
      }
      std::this_thread::yield();
    }
    return result;
  }

  [[nodiscard]] child_status child(const std::string& name) const {
    for (const child_status& one : node_->picture().children) {
      if (one.name == name) {
        return one;
      }
    }
    throw std::runtime_error{"no child " + name};
  }
  [[nodiscard]] fake_loop& loop() { return *loop_; }
  [[nodiscard]] fake_children& children() { return children_; }
  [[nodiscard]] supervisor_node& node() { return *node_; }
  [[nodiscard]] bool is_ready() const { return ready_; }
  [[nodiscard]] const std::optional<supervisor_outcome>& outcome() const { return outcome_; }
  [[nodiscard]] const std::vector<supervisor_event>& events() const { return events_; }

 private:
  std::shared_ptr<fake_loop> loop_ = std::make_shared<fake_loop>();
  fake_children children_;
  bool ready_ = false;
  std::optional<supervisor_outcome> outcome_;
  std::vector<supervisor_event> events_;
  std::shared_ptr<supervisor_node> node_;
};

}  // namespace troupe::detail
