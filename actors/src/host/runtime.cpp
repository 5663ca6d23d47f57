// SPDX-License-Identifier: BSD-3-Clause
#include "host/runtime.hpp"

#include "troupe/detail/buffer_segment.hpp"
#include "troupe/detail/byte_sink.hpp"
#include "troupe/detail/code_address.hpp"
#include "troupe/detail/futex.hpp"
#include "troupe/detail/memory.hpp"
#include "troupe/detail/region.hpp"
#include "troupe/log.hpp"
#include "troupe/this_process.hpp"

#include "caf/mailbox.hpp"
#include "futures/callback_runner.hpp"
#include "host/library_copies.hpp"
#include "os/process_identity.hpp"
#include "os/sys.hpp"
#include "pools/engine.hpp"

#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <string>
#include <utility>
#include <vector>

namespace troupe::detail {
namespace {

constexpr std::size_t max_idle_segment_bytes = std::size_t{512} << 20;

/// What the process knows about itself: the one mutable global of the library.
struct process_place {
  guarded_mutex mutex;
  std::shared_ptr<runtime> current TROUPE_GUARDED_BY(mutex);
  /// The `fork_generation` of the process that `current` is of, 0 before there was one. A process
  /// that the program forks has a copy of all this, perhaps with the lock held.
  std::atomic<std::uint32_t> process{0};
  bool was_shut_down TROUPE_GUARDED_BY(mutex) = false;
  program self;  // in a worker
  std::atomic<std::uint64_t> depth{0};
  bool is_worker = false;
  const process_place* of_parent = nullptr;  // in a worker: never used, and no leak
};

process_place*& place_pointer() {
  static process_place* pointer = new process_place;
  return pointer;
}

process_place& place() {
  return *place_pointer();
}

/// @throws error{wrong_state} in a process that was forked from the one of the place.
void check_is_here(const process_place& place) {
  const std::uint32_t process = place.process.load();
  if (process != 0 && process != fork_generation()) {
    throw error{errc::wrong_state, task_ran::no,
                "troupe: this process was forked by the program itself, and its parent has the "
                "troupe::system: pools and processes are made and used there. Execute a program in "
                "the child, or fork before troupe::system is made"};
  }
}

/// Its workers begin in main of the program, whose copy of the library knows none of them.
///
/// @throws error{already_bootstrapped} in a plugin that has its own beside that of the program.
void check_is_the_only_copy() {
  const std::vector<library_copy> copies = library_copies();
  const bool is_of_a_plugin =
      std::any_of(copies.begin(), copies.end(),
                  [](const library_copy& each) { return each.is_own && !each.is_program; });
  const bool program_has_one = std::any_of(
      copies.begin(), copies.end(), [](const library_copy& each) { return each.is_program; });
  if (is_of_a_plugin && program_has_one) {
    throw error{errc::already_bootstrapped, task_ran::no, advice_on_copies()};
  }
}

[[noreturn]] void throw_ending(const std::string& what) {
  throw pool_closed{"troupe: the troupe::system of this program is ending: it starts no more " +
                    what};
}

std::atomic<std::uint64_t> next_worker{1};

}  // namespace

runtime::runtime(program self)
    : process_{::getpid()},
      launcher_{std::make_unique<launcher>(std::move(self))},
      segments_{std::make_shared<segment_pool>(max_idle_segment_bytes)} {
  large_fill_hook = &prepare_pages;
  {
    // CAF's threads inherit the mask: the host program's handlers must not run there.
    const sys::blocked_signals while_threads_start;
    compat::init_types();
    config_ = std::make_unique<caf::actor_system_config>();
    compat::configure_without_threads(*config_);
    actors_ = compat::make_system(*config_);
  }
  char name[256] = {};
  host_ = ::gethostname(name, sizeof name - 1) == 0 ? name : "";
  reactor_ = std::make_unique<reactor>();
  errors_ = std::make_unique<stderr_relay>(*reactor_);
  names_ = std::make_unique<name_cleaner>(&remove_abandoned_blocks);
  launcher_->attach(*reactor_, {[this](std::uint64_t worker, std::int64_t pid, descriptor pidfd) {
                                  if (const auto owner = owner_of(worker)) {
                                    owner->started(worker, pid, std::move(pidfd));
                                  }
                                },
                                [this](std::uint64_t worker, int code) {
                                  errors_->close(worker);
                                  if (const auto owner = owner_of(worker)) {
                                    owner->start_failed(worker, code);
                                  }
                                },
                                [this](const exit_report& report) { worker_exited(report); }});
}

void runtime::worker_exited(const exit_report& report) {
  exit_notice notice;
  notice.pid = report.pid;
  notice.usage = report.usage;
  notice.with_server = report.with_server;
  notice.stderr_tail = errors_->close(report.worker);
  if (report.status) {
    if (const auto* normal = std::get_if<exited>(&*report.status)) {
      notice.kind = 1;
      notice.value = normal->code;
    } else {
      notice.kind = 2;
      notice.value = std::get<killed_by>(*report.status).signal;
    }
    notice.out_of_memory =
        notice.kind == 2 && notice.value == SIGKILL ? oom_.judge() : oom_kill::no;
  }
  // What it held of shared objects goes back before its owner hears of its end; names may go later.
  recover_objects_of_dead(static_cast<std::uint32_t>(report.pid));
  names_->after_a_death();
  drop_idle_buffers_of_others();
  if (const auto owner = owner_of(report.worker)) {
    owner->ended(report.worker, notice);
  }
}

// The handles of pools may keep a runtime beyond shut_down; by then it is an empty shell.
runtime::~runtime() {
  shut_down();
  if (!can_wait()) {
    static_cast<void>(launcher_.release());
    static_cast<void>(names_.release());
    static_cast<void>(reactor_.release());
    static_cast<void>(errors_.release());
    static_cast<void>(signals_.release());
    static_cast<void>(actors_.release());
    static_cast<void>(config_.release());
  }
}

bool runtime::can_wait() const noexcept {
  return process_ == ::getpid() && !reactor::is_here();
}

std::shared_ptr<runtime> runtime::start(program self) {
  watch_forks();
  process_place& here = place();
  check_is_here(here);
  check_is_the_only_copy();
  const mutex_guard lock{here.mutex};
  if (here.current) {
    throw error{
        errc::already_bootstrapped, task_ran::no,
        "troupe: there is a troupe::system already: construct one only, as the first line of "
        "main, and let everything else use it"};
  }
  here.current = std::make_shared<runtime>(std::move(self));
  here.process = fork_generation();
  here.was_shut_down = false;
  return here.current;
}

std::shared_ptr<runtime> runtime::current() {
  process_place& here = place();
  check_is_here(here);
  const mutex_guard lock{here.mutex};
  if (!here.current && here.is_worker) {
    here.current = std::make_shared<runtime>(here.self);
  }
  if (!here.current && !here.was_shut_down) {
    if (std::string advice = advice_on_copies(); !advice.empty()) {
      throw not_bootstrapped{std::move(advice)};
    }
  }
  if (!here.current) {
    throw not_bootstrapped{
        here.was_shut_down ? "troupe: the troupe::system of this program has ended: keep it until "
                             "the last pool is gone"
                           : "troupe: no troupe::system in main. Make it the first line there:\n"
                             "  int main(int argc, char** argv) {\n"
                             "    troupe::system system{argc, argv};"};
  }
  return here.current;
}

void runtime::enter_worker(const program& self) {
  forget_sends_of_parent();
  // Never destroyed and never locked: in a worker forked from a running program the old one belongs
  // to threads that do not exist here.
  auto* const fresh = new process_place;
  fresh->self = self;
  fresh->is_worker = true;
  fresh->process = watched_fork_generation();
  fresh->of_parent = place_pointer();
  place_pointer() = fresh;
}

void runtime::shut_down() noexcept {
  // In a forked child it would wait for threads that do not exist there. On the reactor's thread
  // (where a log hook called exit) it would wait for itself; the fork server ends the workers when
  // the program is gone.
  if (!can_wait()) {
    return;
  }
  // While their children may still be started and stopped.
  for (const auto& tree : live_trees()) {
    tree->end();
  }
  std::vector<std::weak_ptr<engine>> pools;
  {
    mutex_lock lock{mutex_};
    if (std::exchange(down_, true)) {
      return;
    }
    while (making_ > 0) {
      made_.wait(lock);
    }
    pools.swap(pools_);
  }
  for (const auto& weak : pools) {
    if (const auto pool = weak.lock()) {
      pool->end();
      pool->retire();
    }
  }
  if (const running_processes left = running(); !left.empty()) {
    process_ender end_all = nullptr;
    {
      const mutex_guard lock{mutex_};
      end_all = end_all_;
    }
    end_all(left, join_limit_);
  }
  launcher_->detach();
  errors_->finish();
  reactor_.reset();
  names_.reset();
  signals_.reset();
  launcher_.reset();
  errands_->stop();
  if (!callback_runner::is_here()) {  // else exit() was called by a callback, which does not return
    callbacks_->wait_until_none();
  }
  wait_for_log();
  actors_.reset();
  process_place& here = place();
  const mutex_guard lock{here.mutex};
  if (here.current.get() == this) {
    here.current.reset();
    here.process = 0;
    here.was_shut_down = true;
  }
}

std::vector<std::shared_ptr<engine>> runtime::live_pools() {
  std::vector<std::shared_ptr<engine>> live;
  const mutex_guard lock{mutex_};
  for (const auto& weak : pools_) {
    if (auto pool = weak.lock()) {
      live.push_back(std::move(pool));
    }
  }
  return live;
}

std::vector<std::shared_ptr<program_tree>> runtime::live_trees() {
  std::vector<std::shared_ptr<program_tree>> live;
  const mutex_guard lock{mutex_};
  for (const auto& weak : trees_) {
    if (auto tree = weak.lock()) {
      live.push_back(std::move(tree));
    }
  }
  return live;
}

void runtime::stop_on_signals() {
  check_is_here(place());
  errands_->run(nullptr);  // the thread that runs the callbacks of the stop token
  const mutex_guard lock{mutex_};
  if (!signals_) {
    signals_ = std::make_unique<stop_signals>(
        *reactor_, [this](int signal, int count) { on_stop_signal(signal, count); });
  }
}

void runtime::on_stop_signal(int signal, int count) {
  const std::string name = signal == SIGINT ? "SIGINT" : "SIGTERM";
  stop_signal_ = signal;
  for (const auto& tree : live_trees()) {
    tree->on_stop_signal(name, count);
  }
  for (const auto& pool : live_pools()) {
    const pool_stats left = pool->stats();
    const std::string tasks = std::to_string(left.running) + " tasks with workers and " +
                              std::to_string(left.queued) + " waiting ones";
    if (count == 1) {
      log(log_level::warning, name + ": " + pool->title() + " takes no more work and finishes " +
                                  tasks + "; once more to kill");
      pool->close();
    } else {
      log(log_level::warning, name + " again: " + pool->title() + " is killed with " + tasks);
      pool->kill();
    }
  }
  if (count == 1) {
    errands_->run([source = stopping_]() mutable { source.request_stop(); });
  }
}

std::uint64_t runtime::enroll(const std::shared_ptr<process_observer>& link) {
  const std::uint64_t id = next_worker.fetch_add(1);
  const mutex_guard lock{mutex_};
  workers_.emplace(id, link);
  return id;
}

void runtime::dismiss(std::uint64_t worker) {
  const mutex_guard lock{mutex_};
  workers_.erase(worker);
}

void runtime::watch(int socket, std::function<void()> ready) {
  reactor_->watch(socket, std::move(ready));
}

void runtime::unwatch(int socket) {
  reactor_->forget(socket);
}

void runtime::launch(start_order what) {
  if (what.capture_stderr_and_leave_for) {
    what.ends.errors = errors_->open(what.worker, *what.capture_stderr_and_leave_for);
  }
  launcher_->launch(what.worker, what.method, std::move(what.ends));
}

void runtime::signal(std::uint64_t worker, int number) {
  launcher_->kill(worker, number);
}

void runtime::call_at(steady_time when, std::function<void()> function) {
  reactor_->call_at(when, std::move(function));
}

std::uint64_t runtime::resident_bytes(std::int64_t pid) const {
  return detail::resident_bytes(pid);
}

runtime::making::making(runtime& in) : in_{in} {
  const mutex_guard lock{in_.mutex_};
  if (in_.down_) {
    throw_ending("pools");
  }
  ++in_.making_;
}
runtime::making::~making() {
  const mutex_guard lock{in_.mutex_};
  --in_.making_;
  in_.made_.notify_all();
}

void runtime::add(const std::shared_ptr<engine>& pool) {
  const mutex_guard lock{mutex_};
  if (down_) {
    throw_ending("pools");
  }
  if (stop_signal_ != 0) {
    throw pool_closed{
        "troupe: this program was asked to stop by a signal (see system::stop_on_signals): it "
        "starts no more pools"};
  }
  std::erase_if(pools_, [](const auto& weak) { return weak.expired(); });
  pools_.push_back(pool);
  ++live_pools_;
  segments_->keep_idle(true);
  begin_keeping_buffers();
}

void runtime::leave_to_tree(const engine& pool) {
  const mutex_guard lock{mutex_};
  std::erase_if(pools_, [&pool](const auto& weak) {
    const auto one = weak.lock();
    return !one || one.get() == &pool;
  });
}

void runtime::add(const std::shared_ptr<program_tree>& tree) {
  const mutex_guard lock{mutex_};
  if (down_) {
    throw_ending("supervisors");
  }
  if (stop_signal_ != 0) {
    throw pool_closed{
        "troupe: this program was asked to stop by a signal (see system::stop_on_signals): it "
        "starts no more supervisors"};
  }
  std::erase_if(trees_, [](const auto& weak) { return weak.expired(); });
  trees_.push_back(tree);
}

void runtime::remove(const program_tree* tree) {
  const mutex_guard lock{mutex_};
  std::erase_if(trees_, [tree](const auto& weak) {
    const auto one = weak.lock();
    return !one || one.get() == tree;
  });
}

void runtime::pool_ended() {
  const mutex_guard lock{mutex_};
  if (--live_pools_ == 0) {
    segments_->keep_idle(false);
  }
  end_keeping_buffers();
}

void runtime::add(const std::shared_ptr<running_process>& started,
                  void (*end_all)(const running_processes&,
                                  std::chrono::milliseconds limit) noexcept) {
  const mutex_guard lock{mutex_};
  if (down_) {
    throw_ending("processes");
  }
  end_all_ = end_all;
  running_.push_back(started);
}

void runtime::remove(const running_process* ended) {
  std::shared_ptr<running_process> last;  // may end here: not under the lock
  const mutex_guard lock{mutex_};
  const auto found = std::find_if(running_.begin(), running_.end(),
                                  [&](const auto& one) { return one.get() == ended; });
  if (found != running_.end()) {
    last = std::move(*found);
    running_.erase(found);
  }
}

runtime::running_processes runtime::running() {
  const mutex_guard lock{mutex_};
  return running_;
}

std::uint64_t runtime::depth() noexcept {
  return place().depth.load();
}
void runtime::set_depth(std::uint64_t depth) noexcept {
  place().depth.store(depth);
}

void runtime::end_current() noexcept {
  if (const std::uint32_t process = place().process.load(); process != fork_generation()) {
    return;
  }
  std::shared_ptr<runtime> current;
  {
    process_place& here = place();
    const mutex_guard lock{here.mutex};
    current = here.current;
  }
  if (current) {
    current->shut_down();
  }
}

std::shared_ptr<process_observer> runtime::owner_of(std::uint64_t worker) {
  const mutex_guard lock{mutex_};
  const auto found = workers_.find(worker);
  return found == workers_.end() ? nullptr : found->second.lock();
}

}  // namespace troupe::detail
