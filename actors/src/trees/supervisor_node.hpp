// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/child_status.hpp"
#include "troupe/supervisor.hpp"
#include "troupe/supervisor_event.hpp"
#include "troupe/supervisor_outcome.hpp"

#include "base/thread_safety.hpp"
#include "supervision/supervision.hpp"
#include "trees/children/child_engine.hpp"
#include "trees/children/tree_loop.hpp"

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

namespace troupe::detail {

/// What a request came to.
struct request_result {
  request_outcome outcome = request_outcome::done;
  std::optional<child_death> death;  ///< of `start_failed`
};

/// One run of a supervisor: carries out what its `supervision` decides, by the engines of its
/// children.
///
///   handles ── request ──▶ loop ──▶ supervision ── actions ──▶ engines
///                           ▲                                     │
///                           └────────── ready, ended ─────────────┘
///
/// Decisions are made on the loop's thread alone. The lock is for the threads that look meanwhile,
/// so it is not held while an engine is called.
class supervisor_node : public std::enable_shared_from_this<supervisor_node> {
 public:
  /// Called on the loop's thread. `ended` is the last.
  struct listener {
    std::function<void()> ready;
    std::function<void(const supervisor_outcome&)> ended;
    std::function<void(const supervisor_event&)> happened;
  };
  /// @param path  its own, empty at the top.
  /// @param in_process  children that do not say where they run, run in this process.
  supervisor_node(std::shared_ptr<tree_loop> loop, std::string path, const supervisor_rules& rules,
                  const std::vector<definition_ptr>& children, listener told,
                  bool in_process = false);

  /// On the loop's thread.
  void feed(const supervision_event& event);
  /// Posts it to the loop.
  void tell(const supervision_event& event);
  /// Asks, and waits for the answer. Not on the loop's thread.
  ///
  /// @blocks until there is one.
  request_result add(const definition_ptr& added);
  request_result remove(const std::string& name);
  request_result restart_child(const std::string& name);
  request_result stop_child(const std::string& name);

  // On any thread.
  [[nodiscard]] children_picture picture() const;
  [[nodiscard]] child_counts count() const;
  /// It stops its children for good.
  [[nodiscard]] bool stopping() const;
  /// The definition of a child that it has; null: it has none of that name.
  [[nodiscard]] definition_ptr definition(const std::string& name) const;
  /// The engine of the run of a child; null: it does not run, or there is none of that name.
  [[nodiscard]] std::shared_ptr<child_engine> engine(const std::string& name) const;
  [[nodiscard]] tree_loop& loop() const noexcept { return *loop_; }
  [[nodiscard]] const std::string& path() const noexcept { return path_; }

 private:
  struct child_entry {
    definition_ptr definition;
    std::shared_ptr<child_engine> engine;  // null: it does not run
    incarnation run = 0;
    std::optional<child_death> last_death;
    bool asked = false;
  };
  /// The last one that was forgotten: the end of the supervisor may be about it.
  struct forgotten_child {
    child_id id = 0;
    definition_ptr definition;
    std::optional<child_death> last_death;
  };
  struct pending;

  request_result ask(const std::string& name, const definition_ptr& added,
                     std::function<supervision_event(request_id)> make);
  void carry_out(const supervision_action& action);
  void carry_out(const start_child& action);
  void carry_out(const ask_child_to_stop& action);
  void carry_out(const kill_child& action);
  void carry_out(const forget_child& action);
  void carry_out(const supervisor_ready& action);
  void carry_out(const supervisor_ended& action);
  void carry_out(const answer_request& action);
  void on_ended(child_id id, incarnation run, const child_death& how);
  [[nodiscard]] std::shared_ptr<child_engine> engine_of(child_id id, incarnation run) const;
  [[nodiscard]] std::string path_of(child_id id) const TROUPE_REQUIRES(mutex_);
  void set_alarm();
  void happened(supervisor_event event) const;

  const std::shared_ptr<tree_loop> loop_;
  const std::string path_;
  const listener told_;
  const bool in_process_;
  mutable guarded_mutex mutex_;
  supervision decides_ TROUPE_GUARDED_BY(mutex_);
  std::unordered_map<child_id, child_entry> children_ TROUPE_GUARDED_BY(mutex_);
  forgotten_child forgotten_ TROUPE_GUARDED_BY(mutex_);
  std::map<std::string, definition_ptr, std::less<>> definitions_ TROUPE_GUARDED_BY(mutex_);
  // The loop's thread's.
  std::unordered_map<request_id, std::shared_ptr<pending>> requests_;
  request_id last_request_ = 0;
  std::optional<steady_time> alarm_;
};

/// `name` in the supervisor with that path.
[[nodiscard]] std::string path_below(const std::string& path, const std::string& name);

}  // namespace troupe::detail
