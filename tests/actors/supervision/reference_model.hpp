// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "supervision/causes.hpp"
#include "supervision/child_spec.hpp"

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <list>
#include <string>
#include <utility>
#include <vector>

namespace troupe::detail {

/// A supervisor as OTP's documentation and docs/supervision.md describe it: a list of children in
/// the order of their starts, flags, and rules that look at all of them again after each event.
///
/// It shares the specifications with the code under test, and nothing else: not its table of causes,
/// not its budget, not its order of starts. Slow on purpose. No jitter.
class reference_model {
 public:
  using time = std::chrono::steady_clock::time_point;
  static constexpr time never = time::max();
  enum state { down, starting, up, stopping };
  struct kid {
    child_spec spec;
    bool dynamic = false;
    state is = down;
    std::uint64_t run = 0;
    bool queued = false;     // to be started when it is its turn
    bool has_turn = false;   // the next in order waits for it
    bool must_go = false;    // its strategy stops it, to start it again
    bool regroup = false;    // belongs to the group that is being restarted
    bool resting = false;    // stopped by the user
    bool asked_for = false;  // its start was requested: a failure is the requester's
    bool killed = false;
    bool pausing = false;
    std::string reason{};  // while stopping: restart, rest, remove, late, or nothing
    time limit = never;    // of its start, stop or pause
    time up_since{};
    int row = 0, forgiven = 0, failures = 0;
    std::vector<std::uint64_t> starters{};  // requests
    std::vector<std::uint64_t> stoppers{};
  };

  reference_model(const supervisor_rules& rules, const std::vector<child_spec>& specs)
      : rules_{rules} {
    // Again and again the first one that has none of its `after` among those left.
    std::vector<child_spec> left = specs;
    while (!left.empty()) {
      const auto next = std::find_if(left.begin(), left.end(), [&](const child_spec& spec) {
        return std::none_of(left.begin(), left.end(), [&](const child_spec& other) {
          return std::count(spec.after.begin(), spec.after.end(), other.name) > 0;
        });
      });
      kids_.push_back(kid{*next});
      left.erase(next);
    }
  }

  std::vector<std::string> take_actions() { return std::exchange(did_, {}); }
  [[nodiscard]] const std::list<kid>& kids() const { return kids_; }
  [[nodiscard]] bool over() const { return over_; }
  /// "stopped", "auto-shutdown" or "gave up".
  [[nodiscard]] const std::string& why_over() const { return why_over_; }

  void start(time now) {
    now_ = now;
    for (kid& k : kids_) {
      k.queued = true;
    }
    in_order_ = serving_ = true;
    settle();
  }
  void stop(time now) {
    now_ = now;
    end_all("stopped");
    settle();
  }
  void ready(const std::string& name, time now) {
    now_ = now;
    kid& k = *find(name);
    if (k.is == starting) {
      k.is = up;
      k.limit = never;
      k.up_since = now;
      k.failures = 0;
      k.has_turn = k.asked_for = k.resting = false;
      reply(k.starters, "done");
    }
    settle();
  }
  void ignored(const std::string& name, time now) {
    now_ = now;
    kid& k = *find(name);
    if (k.is == stopping) {
      ended(name, end_cause::finished, now);
      return;
    }
    k.is = down;
    k.limit = never;
    k.has_turn = k.asked_for = k.resting = k.must_go = false;
    reply(k.starters, "done");
    if (k.dynamic || k.spec.restart == restart::temporary) {
      erase(k);
    }
    settle();
  }
  void ended(const std::string& name, end_cause cause, time now) {
    now_ = now;
    on_end(*find(name), cause);
    settle();
  }
  void pass(time now) {
    now_ = now;
    for (;;) {
      const auto k = std::min_element(kids_.begin(), kids_.end(),
                                      [](const kid& a, const kid& b) { return a.limit < b.limit; });
      if (k == kids_.end() || k->limit == never || k->limit > now) {
        break;
      }
      if (k->pausing) {
        end_pause(*k);
      } else {
        if (k->is == starting) {
          k->reason = "late";
        }
        k->is = stopping;
        kill(*k);
      }
    }
    settle();
  }
  void add(std::uint64_t request, const child_spec& spec, time now) {
    now_ = now;
    const auto dynamic =
        std::count_if(kids_.begin(), kids_.end(), [](const kid& k) { return k.dynamic; });
    if (!serving_) {
      say(request, "refused");
    } else if (find(spec.name) != nullptr ||
               (rules_.max_children && dynamic >= *rules_.max_children)) {
      say(request, "refused");
    } else {
      kid& k = kids_.emplace_back(kid{spec, true});
      k.asked_for = true;
      k.starters = {request};
      start_when_possible(k);
    }
    settle();
  }
  void remove(std::uint64_t request, const std::string& name, time now) {
    now_ = now;
    if (kid* k = wanted(request, name)) {
      k->stoppers.push_back(request);
      if (k->is == down) {
        erase(*k);
      } else if (k->is == stopping) {
        k->reason = "remove";
      } else {
        ask(*k, "remove");
      }
    }
    settle();
  }
  void stop_child(std::uint64_t request, const std::string& name, time now) {
    now_ = now;
    if (kid* k = wanted(request, name)) {
      k->stoppers.push_back(request);
      if (k->is == down) {
        rest(*k);
      } else if (k->is != stopping) {
        ask(*k, "rest");
      } else if (k->reason != "remove") {
        k->reason = "rest";
      }
    }
    settle();
  }
  void restart_child(std::uint64_t request, const std::string& name, time now) {
    now_ = now;
    kid* k = wanted(request, name);
    if (k != nullptr && k->is == stopping && k->reason == "remove") {
      say(request, "refused");
    } else if (k != nullptr) {
      k->starters.push_back(request);
      if (k->is == up) {
        ask(*k, "restart");
      } else if (k->is == stopping && k->reason == "rest") {
        k->reason = "restart";
      } else if (k->pausing) {
        end_pause(*k);
      } else if (k->is == down && !k->queued) {
        k->asked_for = true;
        start_when_possible(*k);
      }
    }
    settle();
  }

 private:
  kid* find(const std::string& name) {
    const auto k = std::find_if(kids_.begin(), kids_.end(),
                                [&](const kid& one) { return one.spec.name == name; });
    return k == kids_.end() ? nullptr : &*k;
  }
  kid* wanted(std::uint64_t request, const std::string& name) {
    kid* const k = serving_ ? find(name) : nullptr;
    if (k == nullptr) {
      say(request, "refused");
    }
    return k;
  }
  void say(std::uint64_t request, const std::string& what) {
    did_.push_back(std::to_string(request) + " " + what);
  }
  void reply(std::vector<std::uint64_t>& to, const std::string& what) {
    for (const std::uint64_t request : to) {
      say(request, what);
    }
    to.clear();
  }

  // One child.
  void begin(kid& k) {
    ++k.run;
    k.is = starting;
    k.queued = k.pausing = k.killed = false;
    k.reason.clear();
    k.limit = now_ + k.spec.start_timeout;
    did_.push_back("start " + k.spec.name);
  }
  void start_when_possible(kid& k) {
    if (in_order_ || group_) {
      k.queued = true;
    } else {
      begin(k);
    }
  }
  void ask(kid& k, const std::string& reason) {
    k.is = stopping;
    k.reason = reason;
    if (k.spec.shutdown.count() == 0) {
      kill(k);
    } else {
      k.limit = k.spec.shutdown == no_limit ? never : now_ + k.spec.shutdown;
      did_.push_back("ask " + k.spec.name);
    }
  }
  void kill(kid& k) {
    k.killed = true;
    k.limit = never;
    did_.push_back("kill " + k.spec.name);
  }
  void erase(kid& k) {
    reply(k.starters, "refused");
    reply(k.stoppers, "done");
    did_.push_back("forget " + k.spec.name);
    kids_.remove_if([&](const kid& one) { return &one == &k; });
  }
  void rest(kid& k) {
    k.resting = true;
    k.queued = k.pausing = k.has_turn = k.must_go = false;
    k.limit = never;
    reply(k.starters, "refused");
    reply(k.stoppers, "done");
    if (k.spec.restart == restart::temporary) {
      erase(k);
    }
  }
  void end_pause(kid& k) {
    k.pausing = false;
    k.limit = never;
    if (rules_.strategy == strategy::one_for_one) {
      begin(k);
      return;
    }
    k.queued = true;
    k.has_turn = false;
    in_order_ = true;
  }

  // The lists of part "Causes" of docs/supervision.md, written down a second time.
  static bool counts(end_cause c) {
    return c == end_cause::threw || c == end_cause::exit_code || c == end_cause::signal ||
           c == end_cause::own_memory || c == end_cause::own_cpu || c == end_cause::start_limit ||
           c == end_cause::missed_heartbeat || c == end_cause::failed_probe ||
           c == end_cause::ended_too_early || c == end_cause::gave_up;
  }
  static bool is_forgiven(end_cause c) {
    return c == end_cause::fork_server || c == end_cause::neighbor ||
           c == end_cause::machine_memory || c == end_cause::node_lost ||
           c == end_cause::program_paused || c == end_cause::engine_unreachable;
  }
  static bool replaced(end_cause c) {
    return c == end_cause::restarted_by_user || c == end_cause::reload ||
           c == end_cause::recycled || c == end_cause::moved;
  }
  static bool stays_down(end_cause c) {
    return c == end_cause::stopped_by_user || c == end_cause::scaled_down ||
           c == end_cause::shutdown;
  }

  void on_end(kid& k, end_cause cause) {
    const state was = k.is;
    k.is = down;
    k.limit = never;
    if (!serving_) {
      reply(k.stoppers, was == stopping ? "done" : "refused");
      if (was == stopping && k.reason == "remove") {
        erase(k);
      }
      return;
    }
    if (was == stopping) {
      if (k.reason == "rest") {
        rest(k);
        return;
      }
      reply(k.stoppers, "done");
      if (k.reason == "remove") {
        erase(k);
        return;
      }
    }
    if (k.must_go) {
      const bool done =
          was == starting && cause == end_cause::finished && k.spec.restart != restart::permanent;
      if (done) {
        reply(k.starters, "done");
        k.asked_for = k.resting = false;
      }
      k.must_go = false;
      k.queued = true;
      if (k.spec.restart == restart::temporary) {
        erase(k);
      }
      return;
    }
    if (was == stopping && k.reason == "restart") {
      begin(k);
      return;
    }
    if (was == stopping) {
      failed_start(k, end_cause::start_limit);
      return;
    }
    if (cause == end_cause::finished && k.spec.restart == restart::permanent) {
      cause = end_cause::ended_too_early;
    }
    if (was == starting && cause != end_cause::finished) {
      failed_start(k, cause);
      return;
    }
    if (was == starting) {
      reply(k.starters, "done");
      k.asked_for = k.resting = false;
      k.up_since = now_;
    }
    was_up(k, cause);
  }
  void failed_start(kid& k, end_cause cause) {
    if (k.asked_for || stays_down(cause)) {
      reply(k.starters, "refused");
      k.asked_for = k.has_turn = false;
      if (k.spec.restart == restart::temporary || (k.dynamic && !k.resting)) {
        erase(k);
      }
    } else if (replaced(cause)) {
      begin(k);
    } else {
      k.failures += counts(cause) ? 1 : 0;
      again(k, cause, false, false);
    }
  }
  void was_up(kid& k, end_cause cause) {
    if (replaced(cause)) {
      begin(k);
      return;
    }
    const bool normal = cause == end_cause::finished;
    if (stays_down(cause) || k.spec.restart == restart::temporary ||
        (k.spec.restart == restart::transient && normal)) {
      k.has_turn = false;
      k.resting = stays_down(cause);
      const bool significant = k.spec.significant && !stays_down(cause);
      if (k.spec.restart == restart::temporary || (k.dynamic && !k.resting)) {
        erase(k);
      }
      const bool others = std::any_of(kids_.begin(), kids_.end(), [](const kid& one) {
        return one.spec.significant && (one.is != down || one.queued || one.pausing);
      });
      if (significant && (rules_.auto_shutdown == auto_shutdown::any ||
                          (rules_.auto_shutdown == auto_shutdown::all && !others))) {
        end_all("auto-shutdown");
      }
      return;
    }
    const bool stable = now_ - k.up_since >= rules_.limits.stable_after;
    if (stable) {
      k.row = k.forgiven = k.failures = 0;
    }
    again(k, cause, true, stable);
  }
  /// It is to be started again, if the limits allow it.
  void again(kid& k, end_cause cause, bool had_been_up, bool stable) {
    const restart_limits& limits = rules_.limits;
    int doublings = -1;
    if (counts(cause)) {
      k.forgiven = 0;
      doublings = ++k.row - 2;
      deaths_.push_back(now_);
      const auto recent = std::count_if(deaths_.begin(), deaths_.end(),
                                        [&](time at) { return now_ - at <= limits.period; });
      if (recent > limits.intensity && !limits.forever) {
        give_up(k);
        return;
      }
    } else if (is_forgiven(cause)) {
      doublings = ++k.row - 1;
      k.forgiven += stable ? 0 : 1;
      if (k.forgiven >= 10 && !limits.forever) {
        give_up(k);
        return;
      }
    }
    if (!had_been_up && k.failures >= limits.start_attempts && !limits.forever) {
      give_up(k);
      return;
    }
    std::chrono::milliseconds wait{0};
    if (doublings >= 0) {
      wait = std::min(limits.max_backoff, limits.backoff * (1 << std::min(doublings, 20)));
    }
    const bool group = had_been_up && rules_.strategy != strategy::one_for_one;
    if (wait.count() > 0) {
      k.pausing = true;
      k.limit = now_ + wait;
    } else if (group) {
      k.queued = true;
    } else {
      begin(k);
    }
    if (group) {
      bool in = rules_.strategy == strategy::one_for_all;
      for (kid& one : kids_) {
        in = in || &one == &k;
        if (in) {
          one.regroup = true;
          one.has_turn = false;
          one.must_go = one.is != down;
        }
      }
      group_ = true;
      in_order_ = false;
    }
  }
  void give_up(kid& k) {
    reply(k.starters, "refused");
    end_all("gave up");
  }
  void end_all(const std::string& why) {
    if (over_ || !why_over_.empty()) {
      return;
    }
    serving_ = false;
    why_over_ = why;
    for (kid& k : kids_) {
      reply(k.starters, "refused");
      k.queued = k.pausing = false;
      if (k.is == down) {
        k.limit = never;
      }
    }
  }

  // All children.
  void settle() {
    if (!why_over_.empty()) {
      if (!over_ && stop_last([](const kid&) { return true; })) {
        over_ = true;
        did_.push_back(why_over_);
      }
      return;
    }
    if (!serving_) {
      return;
    }
    if (group_ && stop_last([](const kid& k) { return k.must_go; })) {
      for (kid& k : kids_) {
        if (k.regroup && k.is == down && !k.pausing && !k.resting) {
          k.queued = true;
        }
        k.regroup = false;
      }
      group_ = false;
      in_order_ = true;
    }
    while (in_order_ && !group_) {
      bool wait = false;
      kid* next = nullptr;
      for (kid& k : kids_) {
        wait = wait || k.has_turn || (k.pausing && rules_.strategy != strategy::one_for_one);
        next = next == nullptr && k.queued ? &k : next;
      }
      if (wait) {
        break;
      }
      if (next == nullptr) {
        in_order_ = false;
        if (!announced_) {
          announced_ = true;
          did_.push_back("ready");
        }
        break;
      }
      begin(*next);
      next->has_turn = !next->dynamic;
    }
  }
  /// Asks all dynamic ones of them, and the very last one; true: none is left.
  template <class Which>
  bool stop_last(const Which& which) {
    kid* last = nullptr;
    for (kid& k : kids_) {
      if (k.is != down && which(k)) {
        last = &k;
        if (k.dynamic && k.is != stopping) {
          ask(k, "");
        }
      }
    }
    if (last != nullptr && last->is != stopping) {
      ask(*last, "");
    }
    return last == nullptr;
  }

  supervisor_rules rules_;
  std::list<kid> kids_;
  std::vector<time> deaths_;
  std::vector<std::string> did_;
  std::string why_over_;
  time now_{};
  bool serving_ = false;
  bool in_order_ = false;  // children are being started one after the other
  bool group_ = false;     // a group is being stopped, to be started again
  bool announced_ = false;
  bool over_ = false;
};

}  // namespace troupe::detail
