// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/detail/futex.hpp"
#include "troupe/supervisor.hpp"
#include "troupe/system_status.hpp"

#include "base/thread_safety.hpp"
#include "host/program_tree.hpp"
#include "trees/children/child_engine.hpp"
#include "trees/children/tree_loop.hpp"
#include "pools/root_child.hpp"
#include "trees/event_stream.hpp"
#include "trees/supervisor_node.hpp"

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <typeinfo>
#include <vector>

namespace troupe::detail {

class runtime;

/// A supervisor as its handle sees it, over all of its runs.
///
///   idle ──start──▶ running ──ended──▶ idle
///     └── made a child of another one: that one starts and stops it
class supervisor_core final : public program_tree,
                              public root_child,
                              public std::enable_shared_from_this<supervisor_core> {
 public:
  explicit supervisor_core(const supervisor_options& options);
  ~supervisor_core() override;

  // By the handle.
  void add(const definition_ptr& child);
  [[nodiscard]] std::vector<spec_mistake> check() const;
  void start();
  void stop();
  void kill();
  std::optional<supervisor_outcome> wait_until(const deadline& until) const;
  [[nodiscard]] bool running() const;
  void remove(const std::string& path);
  void restart_child(const std::string& path);
  void stop_child(const std::string& path);
  [[nodiscard]] child_status child(const std::string& path) const;
  [[nodiscard]] children_picture picture() const;
  [[nodiscard]] child_counts count() const;
  [[nodiscard]] supervisor_status status(const std::string& path) const;
  /// Adds itself, its children, and those below.
  void add_figures(system_status& to) const;
  [[nodiscard]] supervisor_events events(std::size_t capacity);
  /// The pool that a child is. `kind`: what it has to be.
  [[nodiscard]] engine_ptr pool(const std::string& path, const std::string& kind) const;
  /// The present run of a child; null: it does not run.
  [[nodiscard]] std::shared_ptr<child_engine> engine(const std::string& path) const;
  /// Throws error{wrong_state} if it runs, or is a child.
  void check_is_idle() const;
  void keep(const std::string& name, std::shared_ptr<void> object, const std::type_info& type);
  [[nodiscard]] std::shared_ptr<void> kept(const std::string& name,
                                           const std::type_info& type) const;
  /// The handle goes.
  void release() noexcept;

  // By the supervisor above.
  /// From now on it is a child. Throws error{wrong_state} if it is one already, or was started.
  void become_child();
  /// It is none any more: it was removed, or could not be added.
  void leave_parent();
  /// Makes its next run. `in_process`: so is the one above, or the program.
  std::shared_ptr<supervisor_node> make_node(const std::shared_ptr<tree_loop>& loop,
                                             const std::string& path,
                                             supervisor_node::listener told, bool in_process);
  /// The run has ended.
  void child_ended(const supervisor_outcome& outcome);

  // program_tree, by the runtime.
  void on_stop_signal(const std::string& name, int count) override;
  void end() noexcept override;

  // root_child.
  [[nodiscard]] child_status seen() const override;

 private:
  struct kept_object {
    std::string name;
    std::shared_ptr<void> object;
    const std::type_info* type;
  };

  void check_owner() const;
  /// Its run; null: it does not run.
  [[nodiscard]] std::shared_ptr<supervisor_node> running_node() const;
  /// Its last run; null: there was none.
  [[nodiscard]] std::shared_ptr<supervisor_node> last_node() const;
  /// Ends its run by that event, if it is no child. Blocks until it has ended.
  void end_by(const supervision_event& event, const char* what);
  /// Its run; throws error{wrong_state} if it was never started.
  [[nodiscard]] std::shared_ptr<supervisor_node> node(const char* what) const;
  /// Where a path leads: the supervisor that has the child, and the child's name.
  struct place {
    std::shared_ptr<supervisor_node> node;
    std::string name;
  };
  [[nodiscard]] place find(const std::string& path, const char* what) const;
  [[nodiscard]] bool contains(const supervisor_core& other) const;
  void not_on_own_thread(const supervisor_node& node, const char* what) const;
  void on_ended(const supervisor_outcome& outcome);
  void happened(const supervisor_event& event);

  const supervisor_options options_;
  const std::int64_t maker_;
  std::shared_ptr<runtime> runtime_;  // of the present run
  mutable guarded_mutex mutex_;
  mutable guarded_condition changed_;
  std::vector<kept_object> kept_ TROUPE_GUARDED_BY(mutex_);  // goes after the children
  std::vector<definition_ptr> children_ TROUPE_GUARDED_BY(mutex_);
  std::shared_ptr<supervisor_node> node_ TROUPE_GUARDED_BY(mutex_);  // the last run
  std::shared_ptr<tree_thread> thread_ TROUPE_GUARDED_BY(mutex_);    // of a root that runs
  std::vector<std::weak_ptr<event_stream>> readers_ TROUPE_GUARDED_BY(mutex_);
  bool is_child_ TROUPE_GUARDED_BY(mutex_) = false;
  bool started_ TROUPE_GUARDED_BY(mutex_) = false;  // it runs
  bool ready_ TROUPE_GUARDED_BY(mutex_) = false;
  std::optional<supervisor_outcome> outcome_ TROUPE_GUARDED_BY(mutex_);  // of the last run
};

/// Of a child that is no supervisor.
void add_child(system_status& to, const child_status& child);
/// Of the pool of a child; null: it has none.
void add_pool(system_status& to, engine* pool);

/// Where children run, by what they say themselves and what is above them.
[[nodiscard]] bool is_in_process(placement own, bool inherited) noexcept;

/// What `supervision` has to know.
[[nodiscard]] supervisor_rules rules_of(const supervisor_options& options);

/// All mistakes of a supervisor with these children, and of those below.
[[nodiscard]] std::vector<spec_mistake> check_all(const supervisor_options& options,
                                                  const std::vector<definition_ptr>& children);

struct supervisor_access {
  static const std::shared_ptr<supervisor_core>& core(const troupe::supervisor& handle) noexcept {
    return handle.core_;
  }
  static supervised_pool pool(engine_ptr workers);
  static supervised_thread_pool thread_pool(engine_ptr workers);
};

struct child_spec_access {
  static const definition_ptr& definition(const troupe::child_spec& spec) noexcept {
    return spec.made_;
  }
  static troupe::child_spec make(definition_ptr made) {
    return troupe::child_spec{std::move(made)};
  }
};

}  // namespace troupe::detail
