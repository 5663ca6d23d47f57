// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/detail/clock.hpp"
#include "troupe/objects.hpp"
#include "troupe/system_status.hpp"

#include <memory>
#include <stop_token>
#include <vector>

namespace troupe {

/// How the program ends.
struct system_options {
  /// How long the destructor waits for processes (`troupe::process`) that are no daemons; those
  /// that are left then are ended like daemons, and the log says which.
  std::chrono::milliseconds join_timeout{std::chrono::minutes{1}};
};

/// The first line of main: starts what all pools of the program stand on, and ends it.
///
/// In a process that was started to be a worker, the constructor runs the worker and never returns,
/// so that no child can run main again by accident. In the program it starts the fork server,
/// before there are threads, and then what pools run on.
///
/// It is a variable of main, automatic or `static`. A static one ends in exit, after the static
/// pools that were made after it, and serves exit handlers and destructors that run before that. A
/// global one is refused, because workers would begin when other globals do not exist yet. In a
/// process that was forked from the program the destructor leaves everything alone.
///
/// What stands before it in main runs again in every process that is executed anew, and so do the
/// program's static initializers: in workers of start_method::spawn; and if the program has threads
/// already (of an initializer, a library, or main), in the fork server and in every worker, since a
/// process that has threads is not forked. Such a fork server begins with all signals blocked. So
/// nothing stands before it that the program must not do twice: output, files, threads.
///
/// Standard streams that the program has closed stay so, and free for its own use: nothing of the
/// library has one of their numbers. In workers /dev/null stands there.
///
/// @blocks the destructor, see there.
/// @threads construct and destroy it in main's thread; the other members any. If exit is called
///   elsewhere, a static one ends there: in a callback and in a log hook as ever.
/// @crosses no.
/// @worker_dies if the fork server dies, its workers die with it, and the next one that is needed
///   starts another.
/// @throws error{already_bootstrapped} if there is one; not_bootstrapped if it is a global object;
///   error{spawn_failed} or error{resource_exhausted} if the operating system refuses.
class system {
 public:
  /// Begins the program; `argc` and `argv` are main's, by which start_method::spawn starts it anew.
  system(int argc, char** argv, const system_options& options = {});
  /// Stops every supervisor that is left, each in its order, ends every pool that is left (as
  /// `terminate` does), then daemons, waits for other processes, and ends those that are left.
  ///
  /// @blocks for the trees as supervisor::stop does, for the pools' and the daemons' grace times,
  ///   and for other processes at most `join_timeout`.
  ~system();
  system(const system&) = delete;
  system& operator=(const system&) = delete;

  /// From now on the first SIGINT or SIGTERM stops every supervisor, which ends its children in their
  /// order (a pool of a supervisor takes tasks until its turn comes), and lets every other pool finish
  /// what it has and take nothing new (as `close`). The second one kills their workers: what was left
  /// ends as cancelled. Both report what is left through the log. A third does what it would have
  /// done before.
  ///
  /// Workers ignore SIGINT in any case, and SIGTERM unless their program, its fork server or the
  /// worker itself sends it: a service manager may stop every process of the program by SIGTERM,
  /// and tasks still run to their end. The log tells of it (`info`). Until this is called, the
  /// program's handlers are untouched.
  ///
  /// @blocks no; the signals are handled on a thread of the library's.
  /// @throws error{resource_exhausted} if there is no descriptor or thread left.
  void stop_on_signals();
  /// The shared objects (mutexes, values, queues…) that this process has or had pass through:
  /// handles that its children exchange among themselves are not seen here.
  ///
  /// @threads any.
  [[nodiscard]] std::vector<object_info> objects() const;

  /// All that runs in this program now: the tree below one root, "system". The root's children are
  /// the supervisors that are no children of others, each with all below it, and the pools, thread
  /// pools and processes that were made without a supervisor. Those are temporary: one that ends is
  /// gone from the tree, and its end never concerns others. Of several with one name, all but the
  /// first have a number behind it: "pool#7".
  ///
  /// Stops nothing. The picture of each supervisor is consistent in itself; that of the root has a
  /// version, too, which grows whenever a look finds another one than the look before.
  ///
  /// @threads any.
  /// @throws error{wrong_state} in a process that was forked from the program.
  [[nodiscard]] supervisor_status tree() const;
  /// Figures of it. Stops nothing.
  ///
  /// @threads any.
  /// @throws as tree.
  [[nodiscard]] system_status status() const;

  /// A token that is set at the first signal after `stop_on_signals`, or when a supervisor that has
  /// none above it gives up (then `stop_signal` is 0). Its stop callbacks run on a thread of their
  /// own, and may wait for pools.
  ///
  /// @threads any.
  [[nodiscard]] std::stop_token stop_token() const;
  /// The signal that came last, 0 before: `return system.stop_signal() ? 128 + ... : 0;`
  ///
  /// @threads any.
  [[nodiscard]] int stop_signal() const noexcept;

 private:
  std::shared_ptr<void> runtime_;
};

}  // namespace troupe
