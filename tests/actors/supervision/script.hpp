// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "supervision/supervision.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace troupe::detail {

/// A supervision with a clock that the test sets, which writes down what it wants done: "start a",
/// "ask a", "kill a", "forget a", "ready", "stopped", "gave up: intensity", "1: done".
class script {
 public:
  script(const supervisor_rules& rules, std::vector<child_spec> specs)
      : specs_{std::move(specs)}, decides_{rules, specs_} {}

  /// All in the order of adding, without the backoff, which tests of the strategies do not need.
  static supervisor_rules rules(strategy how, int intensity = 1000) {
    supervisor_rules made;
    made.strategy = how;
    made.limits.intensity = intensity;
    made.limits.start_attempts = 3;
    made.limits.backoff = made.limits.max_backoff = std::chrono::milliseconds{0};
    return made;
  }
  static std::vector<child_spec> specs(const std::vector<std::string>& names,
                                       restart type = restart::permanent) {
    std::vector<child_spec> made;
    for (const std::string& name : names) {
      made.push_back({.name = name, .restart = type});
    }
    return made;
  }

  std::string tell(const supervision_event& event) {
    for (const supervision_action& one : decides_.on(event, now_)) {
      note(one);
    }
    return std::exchange(text_, {});
  }
  std::string start() { return tell(start_requested{}); }
  std::string stop() { return tell(stop_requested{}); }
  std::string ready(const std::string& name) { return tell(child_ready{id(name), run(name)}); }
  std::string ignore(const std::string& name) { return tell(child_ignored{id(name), run(name)}); }
  std::string end(const std::string& name, end_cause cause = end_cause::signal) {
    return tell(child_ended{id(name), run(name), cause});
  }
  std::string add(child_spec spec) { return tell(add_requested{++request_, std::move(spec)}); }
  std::string remove(const std::string& name) { return tell(remove_requested{++request_, name}); }
  std::string restart_child(const std::string& name) {
    return tell(restart_requested{++request_, name});
  }
  std::string stop_child(const std::string& name) {
    return tell(child_stop_requested{++request_, name});
  }
  std::string pass(std::chrono::nanoseconds time) {
    now_ += time;
    return tell(clock_advanced{});
  }
  /// Starts, and has each child ready.
  void start_all() {
    start();
    for (bool more = true; more;) {
      more = false;
      for (const child_picture& child : decides_.picture(now_).children) {
        if (child.phase == child_phase::starting) {
          ready(child.name);
          more = true;
        }
      }
    }
  }
  /// Has every child that was asked or killed end, until no more are.
  std::string end_what_stops() {
    std::string all;
    for (bool more = true; more;) {
      more = false;
      for (const child_picture& child : decides_.picture(now_).children) {
        if (child.phase == child_phase::stopping) {
          const std::string text = end(child.name);
          all += (all.empty() || text.empty() ? "" : ", ") + text;
          more = true;
        }
      }
    }
    return all;
  }

  [[nodiscard]] std::string phase(const std::string& name) const {
    const child_record* const child = decides_.find(name);
    return child == nullptr ? "forgotten" : std::string{to_string(child->phase)};
  }
  [[nodiscard]] const child_record& child(const std::string& name) const {
    return *decides_.find(name);
  }
  [[nodiscard]] std::uint64_t run(const std::string& name) const {
    const child_record* const child = decides_.find(name);
    return child == nullptr ? 0 : child->run;
  }
  [[nodiscard]] child_id id(const std::string& name) const {
    const child_record* const child = decides_.find(name);
    return child == nullptr ? 0 : child->id;
  }
  [[nodiscard]] const supervision& decides() const { return decides_; }
  [[nodiscard]] steady_time now() const { return now_; }
  [[nodiscard]] const supervisor_ended& ended() const { return ended_; }

 private:
  void note(const supervision_action& one) {
    text_ += text_.empty() ? "" : ", ";
    if (const auto* a = std::get_if<start_child>(&one)) {
      const std::string name = decides_.find(a->child)->spec.name;
      names_.resize(std::max<std::size_t>(names_.size(), a->child + 1));
      names_[a->child] = name;
      text_ += "start " + name;
    } else if (const auto* b = std::get_if<ask_child_to_stop>(&one)) {
      text_ += "ask " + names_[b->child];
    } else if (const auto* c = std::get_if<kill_child>(&one)) {
      text_ += "kill " + names_[c->child];
    } else if (const auto* d = std::get_if<forget_child>(&one)) {
      text_ += "forget " + (d->child < names_.size() ? names_[d->child] : "?");
    } else if (std::holds_alternative<supervisor_ready>(one)) {
      text_ += "ready";
    } else if (const auto* e = std::get_if<supervisor_ended>(&one)) {
      ended_ = *e;
      constexpr const char* how[] = {"stopped", "auto-shutdown", "gave up", "invalid"};
      constexpr const char* why[] = {"", ": intensity", ": start attempts", ": forgiven"};
      text_ += how[static_cast<std::size_t>(e->how)];
      text_ += why[static_cast<std::size_t>(e->why)];
    } else if (const auto* f = std::get_if<answer_request>(&one)) {
      constexpr const char* outcomes[] = {
          "done",     "start failed", "stopped",       "unknown name", "duplicate name",
          "too many", "invalid",      "being removed", "not running",  "supervisor stopping"};
      text_ += std::to_string(f->request) + ": " + outcomes[static_cast<std::size_t>(f->outcome)];
    }
  }

  std::vector<child_spec> specs_;
  supervision decides_;
  steady_time now_ = steady_time{} + std::chrono::hours{1000};
  std::uint64_t request_ = 0;
  std::vector<std::string> names_;
  supervisor_ended ended_;
  std::string text_;
};

}  // namespace troupe::detail
