// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/child_spec.hpp"
#include "troupe/child_status.hpp"
#include "troupe/detail/futex.hpp"
#include "troupe/restart_limits.hpp"
#include "troupe/spec_mistake.hpp"
#include "troupe/strategy.hpp"
#include "troupe/supervisor_events.hpp"  // IWYU pragma: export
#include "troupe/supervisor_outcome.hpp"
#include "troupe/supervisor_status.hpp"  // IWYU pragma: export

#include <concepts>
#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <typeinfo>
#include <utility>
#include <vector>

namespace troupe {

/// How a supervisor is made.
struct supervisor_options {
  /// Which children are started again when one has died.
  troupe::strategy strategy = troupe::strategy::one_for_one;
  /// When it gives up, and how long it waits before it starts a child again.
  restart_limits limits{};
  /// Whether it stops when significant children have ended.
  troupe::auto_shutdown auto_shutdown = troupe::auto_shutdown::never;
  /// How many children may be added while it runs. Unset: no bound.
  std::optional<int> max_children{};
  /// What reports call it.
  std::string name = "supervisor";
  /// Where children run that do not say so themselves, also those of supervisors below.
  troupe::placement placement = troupe::placement::inherited;
};

class supervised_pool;
class supervised_thread_pool;

namespace detail {
class supervisor_core;
struct supervisor_access;
}  // namespace detail

/// Starts its children in order, starts those again that die, and stops all in reverse order.
///
/// @code
/// troupe::supervisor tree{{.strategy = troupe::strategy::rest_for_one}};
/// tree.add(troupe::child_pool("resize", {.workers = 4}));
/// tree.add(troupe::child_service("feed", feed_loop, {.after = {"resize"}, .watchdog = 5s}));
/// tree.start();
/// tree.pool("resize").map(resize, images);
/// @endcode
///
/// Names of children are paths where supervisors are children: "web/feed" is the child "feed" of the
/// child "web". What the supervisor does in every situation, docs/supervision.md tells.
///
/// When it gives up, its children are stopped, and if it is no child itself, the stop token of
/// `system` is set. The library never ends the program.
///
/// @follows OTP's supervisor; the same page has a table of the differences.
/// @blocks as each member says. No member that blocks may be called on the supervisor's own thread,
///   where the log hook runs that tells of its events.
/// @threads any, all members but the destructor.
/// @crosses no; in a process that was forked from its own, members throw error{wrong_state}.
/// @worker_dies that is what it is for.
/// @throws std::invalid_argument for names that no child has; error{wrong_state} from what needs
///   the supervisor to run, or not to.
class supervisor {
 public:
  /// A supervisor without children, with the default options.
  supervisor() : supervisor{supervisor_options{}} {}
  /// A supervisor without children.
  explicit supervisor(const supervisor_options& options);
  /// The other one may only be destroyed then.
  supervisor(supervisor&&) noexcept = default;
  supervisor& operator=(supervisor&&) = delete;
  /// As stop, unless it is a child of another supervisor.
  ///
  /// @blocks as stop.
  ~supervisor();

  /// Adds a child. Before the start it is one of those that are started then; what is wrong with it
  /// is told by `start` and `check`. While the supervisor runs it is started at once, behind all
  /// others, without waiting for those that are being added at the same time.
  ///
  /// @blocks while it runs, until the child is ready.
  /// @throws std::invalid_argument for mistakes, a name that is in use, and a supervisor that would
  ///   be below itself; error{resource_exhausted} for more than `max_children`; while it runs, for
  ///   a child that could not be started: error{start_timeout}, error{initializer_failed} if it
  ///   threw, error{spawn_failed}, or else error{worker_lost}; it is forgotten then.
  void add(const child_spec& child);

  /// Keeps an object for its children, mostly a shared one (a queue, a value, an array, a lock): from
  /// now on, over every restart, until the handle is gone and the last child has ended. What was
  /// kept last is released first. Other handles of the object stay what they are.
  ///
  /// @code
  /// auto lines = tree.keep("lines", troupe::queue<std::string>{1000});
  /// tree.add(troupe::child_service("read", troupe::call(read, lines)));
  /// @endcode
  ///
  /// @returns another handle of the object, for the children.
  /// @throws std::invalid_argument for a name that is in use, or empty.
  template <std::copy_constructible Object>
  Object keep(const std::string& name, Object object) {
    keep_any(name, std::make_shared<Object>(object), typeid(Object));
    return object;
  }
  /// A handle of what is kept under that name.
  ///
  /// @throws std::invalid_argument: nothing is, or it is of another type.
  template <std::copy_constructible Object>
  [[nodiscard]] Object kept(const std::string& name) const {
    return *static_cast<const Object*>(kept_as(name, typeid(Object)).get());
  }

  /// All mistakes at once, also those of supervisors below; none: it can be started. Starts nothing.
  [[nodiscard]] std::vector<spec_mistake> check() const;
  /// The same for children that are not added to a supervisor.
  [[nodiscard]] static std::vector<spec_mistake> check(const supervisor_options& options,
                                                       const std::vector<child_spec>& children);

  /// Starts all children in order, each when those before it are ready.
  ///
  /// @blocks until all are ready.
  /// @throws std::invalid_argument for mistakes in the children; error{wrong_state} if it runs, or
  ///   is a child; as add, for the child that could not be started: all are stopped again then.
  void start();
  /// Asks all children to stop, in reverse order, and kills those that do not within `shutdown`.
  /// Does nothing if the supervisor does not run.
  ///
  /// @blocks until all have ended.
  void stop();
  /// As stop, but kills all of them at once.
  ///
  /// @blocks until all have ended.
  void kill();
  /// Waits for the end: a stop, a give-up, or an automatic shutdown.
  ///
  /// @blocks until then.
  /// @throws error{wrong_state} before the start.
  supervisor_outcome wait() const { return *wait_until(std::nullopt); }
  /// As wait, for a limited time.
  ///
  /// @returns nothing: it runs still.
  /// @blocks for at most `timeout`.
  template <class Rep, class Period>
  [[nodiscard]] std::optional<supervisor_outcome> wait_for(
      std::chrono::duration<Rep, Period> timeout) const {
    return wait_until(detail::deadline_after(timeout));
  }
  /// It was started and has not ended.
  [[nodiscard]] bool running() const;

  /// Stops a child and forgets it.
  ///
  /// @blocks until it has ended.
  void remove(const std::string& path);
  /// Stops a child, if it runs, and starts it again, which costs nothing.
  ///
  /// @blocks until the new run is ready.
  /// @throws as add; error{cancelled} if it was stopped before it was ready.
  void restart_child(const std::string& path);
  /// Stops a child, which stays down until `restart_child`.
  ///
  /// @blocks until it has ended.
  void stop_child(const std::string& path);

  /// The children, in the order of starts.
  [[nodiscard]] std::vector<child_status> children() const { return picture().children; }
  /// One of them.
  [[nodiscard]] child_status child(const std::string& path) const;
  /// The children with the version of the picture; before the start nothing.
  [[nodiscard]] children_picture picture() const;
  /// How many there are.
  [[nodiscard]] child_counts count() const;

  /// The supervisor with all below it.
  [[nodiscard]] supervisor_status status() const;
  /// What happens from now on in this run, to its children and to all below.
  ///
  /// @param capacity  so many events are kept for a slow reader.
  /// @throws error{wrong_state} from a supervisor that is a child: ask the one at the top.
  [[nodiscard]] supervisor_events events(std::size_t capacity = 1024);

  /// The pool of worker processes that is this child now (troupe/supervised_pool.hpp).
  ///
  /// @throws error{wrong_state} while it is not up.
  [[nodiscard]] supervised_pool pool(const std::string& path) const;
  /// The thread pool that is this child now (troupe/supervised_pool.hpp).
  ///
  /// @throws error{wrong_state} while it is not up.
  [[nodiscard]] supervised_thread_pool thread_pool(const std::string& path) const;

 private:
  friend struct detail::supervisor_access;
  [[nodiscard]] std::optional<supervisor_outcome> wait_until(const detail::deadline& until) const;
  void keep_any(const std::string& name, std::shared_ptr<void> object, const std::type_info& type);
  [[nodiscard]] std::shared_ptr<void> kept_as(const std::string& name,
                                              const std::type_info& type) const;

  std::shared_ptr<detail::supervisor_core> core_;
};

/// The supervisors of this process that run and are no children of others, each with all below it.
/// Stops nothing. `system::tree` has these, and what was made without a supervisor.
///
/// @threads any.
[[nodiscard]] std::vector<supervisor_status> running_supervisors();

}  // namespace troupe
