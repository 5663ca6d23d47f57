// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "supervision/child_table.hpp"
#include "supervision/messages.hpp"
#include "supervision/spec_check.hpp"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace troupe::detail {

/// A child as `supervision::picture` shows it.
struct child_picture {
  child_id id = 0;
  std::string name;
  child_phase phase = child_phase::waiting;
  incarnation run = 0;  ///< how often it was started
  std::optional<end_cause> last_end{};
  int forgiven = 0;  ///< ends in a row that did not count
  bool dynamic = false;
};

/// All children at one moment.
struct supervision_picture {
  std::uint64_t version =
      0;            ///< two pictures with the same version are the same, but for `counted`
  int counted = 0;  ///< restarts within the period, of `intensity`
  int intensity = 0;
  std::vector<child_picture> children{};  ///< in the order of starts
};

/// How many children there are.
struct child_count {
  std::size_t specs = 0;    ///< all
  std::size_t active = 0;   ///< with a process, or what they are instead
  std::size_t running = 0;  ///< ready
  std::size_t dynamic = 0;  ///< added while the supervisor ran
};

/// Decides what a supervisor does: which child is started and stopped, when, and in which order.
///
/// Owns what is known of the children, and touches none. It is told events with their times, and
/// returns what is to be done, in that order; `docs/supervision.md` has the rules.
///
///   idle ──start──▶ serving ──stop, gave up, auto-shutdown──▶ stopping ──the last ended──▶ ended
///
/// While it serves, at most one *sweep* is under way: up, which starts what waits, in order; or down,
/// which stops all children from one rank on, in reverse order, and then becomes one up.
///
/// @follows OTP's supervisor.
/// @threads one at a time. An event takes log n steps, and those for what it returns.
class supervision {
 public:
  supervision(const supervisor_rules& rules, const std::vector<child_spec>& specs);

  /// Why it cannot be started; empty: it can.
  [[nodiscard]] const std::vector<spec_mistake>& mistakes() const noexcept { return mistakes_; }
  /// @param now  does not decrease from call to call.
  [[nodiscard]] action_list on(const supervision_event& event, steady_time now);
  /// When `clock_advanced` is to be told next; none: there is no need.
  [[nodiscard]] std::optional<steady_time> next_time() const;

  [[nodiscard]] const child_record* find(child_id child) const { return children_.find(child); }
  [[nodiscard]] const child_record* find(const std::string& name) const {
    return children_.find(name);
  }
  /// Its children are being stopped for good.
  [[nodiscard]] bool stopping() const noexcept { return stage_ == stage::stopping; }
  [[nodiscard]] child_count count() const;
  [[nodiscard]] std::uint64_t version() const noexcept { return children_.version(); }
  /// Takes a step for each child.
  [[nodiscard]] supervision_picture picture(steady_time now) const;

 private:
  enum class stage : std::uint8_t { idle, serving, stopping, ended };
  enum class sweep : std::uint8_t { none, down, up };

  void handle(const start_requested& event);
  void handle(const stop_requested& event);
  void handle(const kill_requested& event);
  void handle(const child_ready& event);
  void handle(const child_ignored& event);
  void handle(const child_ended& event);
  void handle(const clock_advanced& event);
  void handle(const add_requested& event);
  void handle(const remove_requested& event);
  void handle(const restart_requested& event);
  void handle(const child_stop_requested& event);

  // The ends of children.
  void finish_stop(child_record& child);
  void on_failed_start(child_record& child, end_cause cause);
  void on_end(child_record& child, end_cause cause);
  /// It ended while its group or all children are being stopped, which it was not yet.
  bool ended_in_sweep(child_record& child);
  void give_up(child_record& child, end_cause cause, exhausted why);
  /// It is not started again. `by_itself`: not because it was stopped.
  void retire(child_record& child, end_cause cause, bool by_itself);
  void forget(child_record& child);

  // One child.
  void start(child_record& child);
  void stop(child_record& child, after_stop then);
  void kill(child_record& child);
  void pause(child_record& child, std::chrono::milliseconds delay);
  void end_pause(child_record& child);
  void set_stopped(child_record& child);
  void set_waiting(child_record& child);

  // Several children.
  void begin_group(std::uint64_t from);
  void begin_stop(const supervisor_ended& end);
  /// Does what the sweep can do now.
  void advance();
  /// Whether no child is left to be stopped.
  bool step_down();
  void step_up();
  [[nodiscard]] bool in_group(const child_record& child) const noexcept {
    return sweep_ == sweep::down && child.rank >= group_from_;
  }
  /// The sweep need not wait for it any longer.
  void resolve(const child_record& child) noexcept {
    current_ = current_ == child.id ? 0 : current_;
  }

  child_record* find_for(request_id request, const std::string& name);
  /// As the user asked: it is forgotten then, or stays down (`after_stop::rest`).
  void take_down(request_id request, const std::string& name, after_stop then);
  [[nodiscard]] bool has_mistakes(const child_spec& spec);
  void answer(request_id request, request_outcome outcome);
  void answer_all(std::vector<request_id>& requests, request_outcome outcome);

  supervisor_rules rules_;
  std::vector<spec_mistake> mistakes_;
  restart_budget budget_;
  child_table children_;
  stage stage_ = stage::idle;
  sweep sweep_ = sweep::none;
  std::uint64_t group_from_ = 0;  // rank of the first child that a sweep down stops
  child_id current_ = 0;          // that a sweep up waits for
  bool ready_told_ = false;
  supervisor_ended end_;  // to be told when the last child has ended
  steady_time now_{};     // of the event that is being decided
  action_list todo_;      // what it has led to so far
};

}  // namespace troupe::detail
