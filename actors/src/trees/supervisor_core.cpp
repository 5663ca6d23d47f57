// SPDX-License-Identifier: BSD-3-Clause
#include "trees/supervisor_core.hpp"

#include "troupe/detail/type_name.hpp"
#include "troupe/error.hpp"
#include "troupe/log.hpp"

#include "futures/made_here.hpp"
#include "host/runtime.hpp"
#include "pools/engine.hpp"
#include "supervision/spec_check.hpp"

#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <stdexcept>
#include <string_view>
#include <system_error>
#include <utility>

namespace troupe::detail {
namespace {

[[noreturn]] void wrong_state(const std::string& name, const std::string& what) {
  throw error{errc::wrong_state, task_ran::no, "troupe: supervisor '" + name + "' " + what};
}

/// The whole program is to run without processes, for a debugger or a test.
bool program_is_inline() {
  const char* const text = ::secure_getenv("TROUPE_INLINE");
  return text != nullptr && std::string_view{text} == "1";
}

/// Throws what a request that was not done means to its caller.
void throw_for(const request_result& result, const std::string& supervisor,
               const std::string& child, const std::vector<spec_mistake>& mistakes = {}) {
  const std::string who = "troupe: supervisor '" + supervisor + "': child '" + child + "' ";
  switch (result.outcome) {
    case request_outcome::done:
      return;
    case request_outcome::unknown_name:
      throw std::invalid_argument{who + "is not there"};
    case request_outcome::duplicate_name:
      throw std::invalid_argument{who + "is there already: give the new one another name"};
    case request_outcome::invalid_spec:
      throw std::invalid_argument{mistakes.empty() ? who + "has a name in .after that no child has"
                                                   : to_string(mistakes)};
    case request_outcome::too_many_children:
      throw error{errc::resource_exhausted, task_ran::no,
                  who + "is one more than .max_children allow"};
    case request_outcome::stopped:
      throw error{errc::cancelled, task_ran::maybe, who + "was stopped before it was ready"};
    case request_outcome::being_removed:
      throw error{errc::wrong_state, task_ran::no, who + "is being removed"};
    case request_outcome::not_running:
    case request_outcome::supervisor_stopping:
      wrong_state(supervisor, "does not run");
    case request_outcome::start_failed:
      break;
  }
  const child_death death = result.death.value_or(child_death{});
  const std::string text = who + "could not be started: " + std::string{to_string(death.cause)} +
                           (death.text.empty() ? "" : ": " + death.text);
  switch (death.cause) {
    case end_cause::start_limit:
      throw error{errc::start_timeout, task_ran::maybe, text};
    case end_cause::threw:
      throw error{errc::initializer_failed, task_ran::yes, text};
    case end_cause::machine_memory:
      throw error{errc::spawn_failed, task_ran::no, text};
    default:
      throw error{errc::worker_lost, task_ran::maybe, text};
  }
}

}  // namespace

supervisor_rules rules_of(const supervisor_options& options) {
  return {options.strategy, options.limits, options.auto_shutdown, options.max_children, 0};
}

bool is_in_process(placement own, bool inherited) noexcept {
  return own == placement::inherited ? inherited : own == placement::in_process;
}

std::vector<spec_mistake> check_all(const supervisor_options& options,
                                    const std::vector<definition_ptr>& children) {
  std::vector<child_spec> specs;
  for (const definition_ptr& one : children) {
    specs.push_back(one->spec);
  }
  std::vector<spec_mistake> found = check(rules_of(options), specs);
  for (const definition_ptr& one : children) {
    if (one->below) {
      for (spec_mistake& mistake : one->below->check()) {
        mistake.child =
            mistake.child.empty() ? one->spec.name : path_below(one->spec.name, mistake.child);
        found.push_back(std::move(mistake));
      }
    }
  }
  return found;
}

supervisor_core::supervisor_core(const supervisor_options& options)
    : options_{options}, maker_{::getpid()} {}

supervisor_core::~supervisor_core() = default;

void supervisor_core::check_owner() const {
  if (::getpid() != maker_) {
    wrong_state(options_.name, "was made by process " + std::to_string(maker_) +
                                   ", and only there it can be used");
  }
}

void supervisor_core::not_on_own_thread(const supervisor_node& node, const char* what) const {
  if (node.loop().is_here()) {
    throw error{errc::would_deadlock, task_ran::no,
                "troupe: " + std::string{what} + " of supervisor '" + options_.name +
                    "' on its own thread would wait for itself"};
  }
}

bool supervisor_core::contains(const supervisor_core& other) const {
  if (this == &other) {
    return true;
  }
  std::vector<definition_ptr> children;
  {
    const mutex_guard lock{mutex_};
    children = children_;
  }
  return std::any_of(children.begin(), children.end(), [&other](const definition_ptr& one) {
    return one->below && one->below->contains(other);
  });
}

void supervisor_core::add(const definition_ptr& child) {
  check_owner();
  if (child->below && child->below->contains(*this)) {
    throw std::invalid_argument{"troupe: supervisor '" + options_.name +
                                "' would be below itself, as child '" + child->spec.name + "'"};
  }
  std::shared_ptr<supervisor_node> running;
  {
    const mutex_guard lock{mutex_};
    running = started_ ? node_ : nullptr;
    if (!running) {
      if (child->below) {
        child->below->become_child();
      }
      children_.push_back(child);
      return;
    }
  }
  not_on_own_thread(*running, "add");
  if (child->below) {
    const std::vector<spec_mistake> below = child->below->check();
    if (!below.empty()) {
      throw std::invalid_argument{to_string(below)};
    }
    child->below->become_child();
  }
  const request_result added = running->add(child);
  if (child->below && added.outcome != request_outcome::done) {
    child->below->leave_parent();
  }
  throw_for(added, options_.name, child->spec.name, check_child(rules_of(options_), child->spec));
}

std::vector<spec_mistake> supervisor_core::check() const {
  std::vector<definition_ptr> children;
  {
    const mutex_guard lock{mutex_};
    children = children_;
  }
  return check_all(options_, children);
}

void supervisor_core::become_child() {
  const mutex_guard lock{mutex_};
  if (is_child_) {
    wrong_state(options_.name, "is a child of a supervisor already");
  }
  if (started_) {
    wrong_state(options_.name, "was started by itself: add it before");
  }
  is_child_ = true;
}

void supervisor_core::leave_parent() {
  const mutex_guard lock{mutex_};
  is_child_ = false;
}

std::shared_ptr<supervisor_node> supervisor_core::make_node(const std::shared_ptr<tree_loop>& loop,
                                                            const std::string& path,
                                                            supervisor_node::listener told,
                                                            bool in_process) {
  supervisor_rules rules = rules_of(options_);
  rules.seed = loop->seed();
  const mutex_guard lock{mutex_};
  node_ = std::make_shared<supervisor_node>(loop, path, rules, children_, std::move(told),
                                            is_in_process(options_.placement, in_process));
  started_ = true;
  ready_ = false;
  outcome_.reset();
  return node_;
}

void supervisor_core::start() {
  check_owner();
  if (const std::vector<spec_mistake> mistakes = check(); !mistakes.empty()) {
    throw std::invalid_argument{"troupe: supervisor '" + options_.name + "' cannot be started:\n" +
                                to_string(mistakes)};
  }
  const std::shared_ptr<runtime> host = runtime::current();
  {
    const mutex_guard lock{mutex_};
    if (is_child_) {
      wrong_state(options_.name, "is a child of another one, which starts it");
    }
    if (started_) {
      wrong_state(options_.name, "runs already");
    }
    host->add(std::static_pointer_cast<program_tree>(shared_from_this()));
    runtime_ = host;
    try {
      thread_ = tree_thread::start();
      started_ = true;
    } catch (const std::system_error& problem) {
      host->remove(this);
      throw error{errc::resource_exhausted, task_ran::no,
                  "troupe: supervisor '" + options_.name + "' has no thread: " + problem.what()};
    }
  }
  list_at_root(std::static_pointer_cast<root_child>(shared_from_this()), options_.name);
  const std::weak_ptr<supervisor_core> weak = weak_from_this();
  const auto to_core = [weak](auto what) {
    return [weak, what](const auto&... args) {
      if (const auto self = weak.lock()) {
        what(*self, args...);
      }
    };
  };
  std::shared_ptr<tree_thread> thread;
  {
    const mutex_guard lock{mutex_};
    thread = thread_;
  }
  const auto node = make_node(
      thread, "",
      {to_core([](supervisor_core& self) {
         const mutex_guard lock{self.mutex_};
         self.ready_ = true;
         self.changed_.notify_all();
       }),
       to_core([](supervisor_core& self, const supervisor_outcome& how) { self.on_ended(how); }),
       to_core([](supervisor_core& self, const supervisor_event& event) { self.happened(event); })},
      program_is_inline());
  node->tell(start_requested{});
  std::optional<supervisor_outcome> failed;
  {
    mutex_lock lock{mutex_};
    while (!ready_ && !outcome_) {
      changed_.wait(lock);
    }
    failed = ready_ ? std::nullopt : outcome_;
  }
  if (failed && failed->how == supervisor_end::gave_up) {
    wait_until(std::nullopt);
    throw_for({request_outcome::start_failed, failed->death}, options_.name, failed->child);
  }
}

void supervisor_core::on_ended(const supervisor_outcome& outcome) {
  std::shared_ptr<runtime> host;
  std::shared_ptr<tree_thread> thread;
  bool was_ready = false;
  {
    const mutex_guard lock{mutex_};
    thread = thread_;
    host = std::exchange(runtime_, nullptr);
    was_ready = ready_;
  }
  if (outcome.how == supervisor_end::gave_up) {
    log(log_level::error, "supervisor '" + options_.name + "' gives up: " + outcome.text);
  }
  if (host) {
    host->remove(this);
    if (outcome.how == supervisor_end::gave_up && was_ready) {
      host->request_stop();
    }
  }
  if (thread) {
    thread->end();  // on it: after what was posted before
  }
  happened({supervisor_event_kind::stopped, {}, 0, outcome.death, false, 0});
  const mutex_guard lock{mutex_};
  for (const auto& weak : readers_) {
    if (const auto one = weak.lock()) {
      one->end();
    }
  }
  readers_.clear();
  started_ = false;
  outcome_ = outcome;
  changed_.notify_all();
}

void supervisor_core::child_ended(const supervisor_outcome& outcome) {
  const mutex_guard lock{mutex_};
  started_ = false;
  outcome_ = outcome;
  changed_.notify_all();
}

void supervisor_core::happened(const supervisor_event& event) {
  std::vector<std::shared_ptr<event_stream>> readers;
  {
    const mutex_guard lock{mutex_};
    std::erase_if(readers_, [&readers](const std::weak_ptr<event_stream>& weak) {
      auto one = weak.lock();
      if (one) {
        readers.push_back(std::move(one));
        return false;
      }
      return true;
    });
  }
  for (const auto& one : readers) {
    one->put(event);
  }
  const std::string who = "supervisor '" + options_.name + "': '" + event.path + "' ";
  const std::string death = event.death
                                ? std::string{to_string(event.death->cause)} +
                                      (event.death->text.empty() ? "" : ": " + event.death->text)
                                : std::string{};
  switch (event.kind) {
    case supervisor_event_kind::started:
    case supervisor_event_kind::ready:
    case supervisor_event_kind::gave_up:
    case supervisor_event_kind::stopped:
      log(log_level::debug, who + std::string{to_string(event.kind)});
      break;
    case supervisor_event_kind::restarted:
      log(log_level::info, who + "is started again, run " + std::to_string(event.incarnation));
      break;
    case supervisor_event_kind::ended:
      log(event.asked || event.death->cause == end_cause::finished ? log_level::debug
                                                                   : log_level::warning,
          who + "ended: " + death);
      break;
    case supervisor_event_kind::killed:
      log(event.asked ? log_level::warning : log_level::info,
          who + (event.asked ? "did not stop in time, and is killed" : "is killed"));
      break;
    case supervisor_event_kind::escalated:
      log(log_level::warning, who + "gives up over the end of a child: " + death);
      break;
  }
}

supervisor_events supervisor_core::events(std::size_t capacity) {
  check_owner();
  if (capacity == 0) {
    throw std::invalid_argument{"troupe: supervisor '" + options_.name +
                                "': events(0) would keep none"};
  }
  const mutex_guard lock{mutex_};
  if (is_child_) {
    wrong_state(options_.name, "is a child of another one, which tells what happens");
  }
  auto made = std::make_shared<event_stream>(capacity);
  readers_.push_back(made);
  return supervisor_events{std::move(made)};
}

supervisor_status supervisor_core::status(const std::string& path) const {
  supervisor_status made{options_.name, path, picture(), {}, {}};
  {
    const mutex_guard lock{mutex_};
    for (const kept_object& one : kept_) {
      made.kept.push_back(one.name);
    }
  }
  const auto last = last_node();
  for (const child_status& one : made.picture.children) {
    const definition_ptr known = last ? last->definition(one.name) : nullptr;
    if (known && known->below) {
      made.below.push_back(known->below->status(path_below(path, one.name)));
    }
  }
  return made;
}

void supervisor_core::add_figures(system_status& to) const {
  const auto here = running_node();
  if (!here) {
    return;
  }
  ++to.supervisors;
  for (const child_status& one : here->picture().children) {
    to.restarts += static_cast<std::uint64_t>(one.restarts);
    const definition_ptr known = here->definition(one.name);
    if (known && known->below) {
      known->below->add_figures(to);
      continue;
    }
    add_child(to, one);
    const auto run = here->engine(one.name);
    add_pool(to, run ? run->workers().get() : nullptr);
  }
}

void add_child(system_status& to, const child_status& child) {
  const bool active = child.phase == child_phase::starting || child.phase == child_phase::running ||
                      child.phase == child_phase::stopping;
  ++to.children.all;
  to.children.active += active ? 1 : 0;
  to.children.running += child.ready ? 1 : 0;
  to.children.dynamic += child.dynamic ? 1 : 0;
}

void add_pool(system_status& to, engine* pool) {
  if (pool == nullptr) {
    return;
  }
  const pool_stats more = pool->stats();
  ++to.pools;
  to.tasks.submitted += more.submitted;
  to.tasks.queued += more.queued;
  to.tasks.running += more.running;
  to.tasks.succeeded += more.succeeded;
  to.tasks.failed += more.failed;
  to.tasks.cancelled += more.cancelled;
  to.tasks.retried += more.retried;
  to.tasks.workers += more.workers;
  to.tasks.deaths += more.deaths;
  to.tasks.recycled += more.recycled;
  to.tasks.retired += more.retired;
}

child_status supervisor_core::seen() const {
  child_status status;
  status.name = options_.name;
  status.kind = "supervisor";
  std::shared_ptr<supervisor_node> here;
  {
    const mutex_guard lock{mutex_};
    here = node_;
    status.phase = !started_ ? child_phase::stopped
                   : ready_  ? child_phase::running
                             : child_phase::starting;
  }
  if (status.phase == child_phase::running && here && here->stopping()) {
    status.phase = child_phase::stopping;
  }
  return status;
}

void supervisor_core::keep(const std::string& name, std::shared_ptr<void> object,
                           const std::type_info& type) {
  check_owner();
  const mutex_guard lock{mutex_};
  if (name.empty() || std::any_of(kept_.begin(), kept_.end(),
                                  [&name](const kept_object& one) { return one.name == name; })) {
    throw std::invalid_argument{
        "troupe: supervisor '" + options_.name + "' keeps '" + name +
        (name.empty() ? "': what it keeps has a name" : "' already: give this one another name")};
  }
  kept_.push_back({name, std::move(object), &type});
}

std::shared_ptr<void> supervisor_core::kept(const std::string& name,
                                            const std::type_info& type) const {
  check_owner();
  const mutex_guard lock{mutex_};
  const auto found = std::find_if(kept_.begin(), kept_.end(),
                                  [&name](const kept_object& one) { return one.name == name; });
  if (found == kept_.end() || *found->type != type) {
    throw std::invalid_argument{
        "troupe: supervisor '" + options_.name + "' keeps " +
        (found == kept_.end()
             ? "nothing under the name '" + name + "'"
             : "'" + name + "' as a " + type_name(*found->type) + ", no " + type_name(type))};
  }
  return found->object;
}

void supervisor_core::stop() {
  end_by(stop_requested{}, "stop");
}

void supervisor_core::kill() {
  end_by(kill_requested{}, "kill");
}

void supervisor_core::end_by(const supervision_event& event, const char* what) {
  check_owner();
  {
    const mutex_guard lock{mutex_};
    if (is_child_) {
      wrong_state(options_.name, "is a child of another one, which stops it");
    }
  }
  if (const auto running = running_node()) {
    not_on_own_thread(*running, what);
    running->tell(event);
    wait_until(std::nullopt);
  }
}

std::shared_ptr<supervisor_node> supervisor_core::running_node() const {
  const mutex_guard lock{mutex_};
  return started_ ? node_ : nullptr;
}

std::shared_ptr<supervisor_node> supervisor_core::last_node() const {
  const mutex_guard lock{mutex_};
  return node_;
}

std::optional<supervisor_outcome> supervisor_core::wait_until(const deadline& until) const {
  check_owner();
  const auto here = node("waited for");
  mutex_lock lock{mutex_};
  if (started_) {
    lock.unlock();
    not_on_own_thread(*here, "wait");
    lock.lock();
  }
  lock.unlock();
  here->loop().drive([this] {
    const mutex_guard guard{mutex_};
    return outcome_.has_value();
  });
  lock.lock();
  bool in_time = true;
  while (!outcome_ && in_time) {
    if (until) {
      in_time = changed_.wait_until(lock, *until);
    } else {
      changed_.wait(lock);
    }
  }
  std::optional<supervisor_outcome> outcome = outcome_;
  const std::shared_ptr<tree_thread> thread = thread_;
  lock.unlock();
  if (outcome && thread) {
    thread->end();
  }
  return outcome;
}

bool supervisor_core::running() const {
  const mutex_guard lock{mutex_};
  return started_;
}

std::shared_ptr<supervisor_node> supervisor_core::node(const char* what) const {
  const mutex_guard lock{mutex_};
  if (!node_) {
    wrong_state(options_.name, std::string{"cannot be "} + what + " before it was started");
  }
  return node_;
}

supervisor_core::place supervisor_core::find(const std::string& path, const char* what) const {
  check_owner();
  place at{node(what), {}};
  std::size_t begin = 0;
  for (std::size_t end = path.find('/'); end != std::string::npos; end = path.find('/', begin)) {
    const std::string name = path.substr(begin, end - begin);
    const definition_ptr found = at.node->definition(name);
    if (!found || !found->below) {
      throw std::invalid_argument{"troupe: supervisor '" + options_.name + "': '" +
                                  path.substr(0, end) + "' is no supervisor below it"};
    }
    at.node = found->below->node(what);
    begin = end + 1;
  }
  at.name = path.substr(begin);
  return at;
}

void supervisor_core::remove(const std::string& path) {
  const place at = find(path, "changed");
  not_on_own_thread(*at.node, "remove");
  const definition_ptr removed = at.node->definition(at.name);
  throw_for(at.node->remove(at.name), options_.name, path);
  if (removed && removed->below) {
    removed->below->leave_parent();
  }
}

void supervisor_core::restart_child(const std::string& path) {
  const place at = find(path, "changed");
  not_on_own_thread(*at.node, "restart_child");
  throw_for(at.node->restart_child(at.name), options_.name, path);
}

void supervisor_core::stop_child(const std::string& path) {
  const place at = find(path, "changed");
  not_on_own_thread(*at.node, "stop_child");
  throw_for(at.node->stop_child(at.name), options_.name, path);
}

child_status supervisor_core::child(const std::string& path) const {
  const place at = find(path, "looked at");
  for (child_status& one : at.node->picture().children) {
    if (one.name == at.name) {
      return std::move(one);
    }
  }
  throw_for({request_outcome::unknown_name, {}}, options_.name, path);
  return {};
}

children_picture supervisor_core::picture() const {
  check_owner();
  const auto last = last_node();
  return last ? last->picture() : children_picture{};
}

child_counts supervisor_core::count() const {
  check_owner();
  const auto last = last_node();
  return last ? last->count() : child_counts{};
}

engine_ptr supervisor_core::pool(const std::string& path, const std::string& kind) const {
  const place at = find(path, "asked for a pool");
  const definition_ptr known = at.node->definition(at.name);
  if (!known) {
    throw_for({request_outcome::unknown_name, {}}, options_.name, path);
  }
  if (known->kind != kind) {
    throw std::invalid_argument{"troupe: supervisor '" + options_.name + "': child '" + path +
                                "' is a " + known->kind + ", no " + kind};
  }
  const std::shared_ptr<child_engine> run = at.node->engine(at.name);
  const engine_ptr workers = run ? run->workers() : nullptr;
  if (!workers) {
    throw error{errc::wrong_state, task_ran::no,
                "troupe: supervisor '" + options_.name + "': child '" + path + "' is not up"};
  }
  return workers;
}

std::shared_ptr<child_engine> supervisor_core::engine(const std::string& path) const {
  const place at = find(path, "looked at");
  if (!at.node->definition(at.name)) {
    throw_for({request_outcome::unknown_name, {}}, options_.name, path);
  }
  return at.node->engine(at.name);
}

void supervisor_core::check_is_idle() const {
  check_owner();
  const mutex_guard lock{mutex_};
  if (is_child_) {
    wrong_state(options_.name, "is a child of another one, which starts it");
  }
  if (started_) {
    wrong_state(options_.name, "runs already");
  }
}

void supervisor_core::release() noexcept {
  if (::getpid() != maker_) {
    keep_for_ever(shared_from_this());
    return;
  }
  bool is_child = false;
  {
    const mutex_guard lock{mutex_};
    is_child = is_child_;
  }
  if (!is_child) {
    end();
    std::vector<kept_object> kept;
    {
      const mutex_guard lock{mutex_};
      kept.swap(kept_);
    }
    while (!kept.empty()) {
      kept.pop_back();
    }
  }
}

void supervisor_core::end() noexcept {
  try {
    const auto running = running_node();
    if (running && !running->loop().is_here()) {
      running->tell(stop_requested{});
      wait_until(std::nullopt);
    }
  } catch (const std::exception& problem) {
    log(log_level::error,
        "supervisor '" + options_.name + "' could not be ended in order: " + problem.what());
  }
}

void supervisor_core::on_stop_signal(const std::string& name, int count) {
  const auto running = running_node();
  if (!running) {
    return;
  }
  const child_counts left = running->count();
  const std::string children =
      std::to_string(left.active) + (left.active == 1 ? " child" : " children");
  if (count == 1) {
    log(log_level::warning,
        name + ": supervisor '" + options_.name + "' stops " + children + "; once more to kill");
    running->tell(stop_requested{});
  } else {
    log(log_level::warning, name + " again: supervisor '" + options_.name + "' kills " + children);
    running->tell(kill_requested{});
  }
}

}  // namespace troupe::detail
