// SPDX-License-Identifier: BSD-3-Clause
#include "trees/supervisor_node.hpp"

#include <algorithm>
#include <exception>
#include <utility>
#include <variant>

namespace troupe::detail {
namespace {

std::vector<child_spec> specs_of(const std::vector<definition_ptr>& children) {
  std::vector<child_spec> specs;
  specs.reserve(children.size());
  for (const definition_ptr& one : children) {
    specs.push_back(one->spec);
  }
  return specs;
}

}  // namespace

std::string path_below(const std::string& path, const std::string& name) {
  return path.empty() ? name : path + "/" + name;
}

/// A request whose caller waits.
struct supervisor_node::pending {
  std::string name;
  child_id child = 0;  // the loop's thread's
  guarded_mutex mutex;
  guarded_condition changed;
  std::optional<request_result> result TROUPE_GUARDED_BY(mutex);

  void answer(request_result with) {
    const mutex_guard lock{mutex};
    result = std::move(with);
    changed.notify_all();
  }
  bool answered() {
    const mutex_guard lock{mutex};
    return result.has_value();
  }
  request_result wait() {
    mutex_lock lock{mutex};
    while (!result) {
      changed.wait(lock);
    }
    return *result;
  }
};

supervisor_node::supervisor_node(std::shared_ptr<tree_loop> loop, std::string path,
                                 const supervisor_rules& rules,
                                 const std::vector<definition_ptr>& children, listener told,
                                 bool in_process)
    : loop_{std::move(loop)},
      path_{std::move(path)},
      told_{std::move(told)},
      in_process_{in_process},
      decides_{rules, specs_of(children)} {
  for (const definition_ptr& one : children) {
    definitions_.emplace(one->spec.name, one);
  }
}

void supervisor_node::tell(const supervision_event& event) {
  loop_->post([self = shared_from_this(), event] { self->feed(event); });
}

void supervisor_node::feed(const supervision_event& event) {
  action_list todo;
  {
    const mutex_guard lock{mutex_};
    todo = decides_.on(event, loop_->now());
  }
  for (const supervision_action& one : todo) {
    carry_out(one);
  }
  set_alarm();
}

void supervisor_node::set_alarm() {
  std::optional<steady_time> next;
  {
    const mutex_guard lock{mutex_};
    next = decides_.next_time();
  }
  if (!next || (alarm_ && *alarm_ <= *next)) {
    return;  // an alarm that comes too early does no harm
  }
  alarm_ = next;
  loop_->call_at(*next, [weak = weak_from_this(), at = *next] {
    if (const auto self = weak.lock()) {
      if (self->alarm_ == at) {
        self->alarm_.reset();
      }
      self->feed(clock_advanced{});
    }
  });
}

// Requests.

request_result supervisor_node::add(const definition_ptr& child) {
  return ask(child->spec.name, child,
             [spec = child->spec](request_id request) { return add_requested{request, spec}; });
}
request_result supervisor_node::remove(const std::string& name) {
  return ask(name, nullptr, [name](request_id request) { return remove_requested{request, name}; });
}
request_result supervisor_node::restart_child(const std::string& name) {
  return ask(name, nullptr,
             [name](request_id request) { return restart_requested{request, name}; });
}
request_result supervisor_node::stop_child(const std::string& name) {
  return ask(name, nullptr,
             [name](request_id request) { return child_stop_requested{request, name}; });
}

request_result supervisor_node::ask(const std::string& name, const definition_ptr& added,
                                    std::function<supervision_event(request_id)> make) {
  const auto asked = std::make_shared<pending>();
  asked->name = name;
  const bool heard = loop_->post([self = shared_from_this(), asked, added, make] {
    const request_id request = ++self->last_request_;
    self->requests_.emplace(request, asked);
    if (added) {
      const mutex_guard lock{self->mutex_};
      if (self->decides_.find(asked->name) == nullptr) {
        self->definitions_[asked->name] = added;
      }
    }
    self->feed(make(request));
    const mutex_guard lock{self->mutex_};
    if (const child_record* const found = self->decides_.find(asked->name)) {
      asked->child = found->id;
    }
    if (added && self->decides_.find(asked->name) == nullptr) {
      self->definitions_.erase(asked->name);
    }
  });
  loop_->drive([&asked] { return asked->answered(); });
  return heard ? asked->wait() : request_result{request_outcome::supervisor_stopping, {}};
}

// What is to be done.

void supervisor_node::carry_out(const supervision_action& action) {
  std::visit([this](const auto& one) { carry_out(one); }, action);
}

void supervisor_node::carry_out(const start_child& action) {
  child_run how{loop_, {}, {}, action.run, {}, in_process_};
  definition_ptr definition;
  {
    const mutex_guard lock{mutex_};
    const child_record* const record = decides_.find(action.child);
    if (record == nullptr) {
      return;
    }
    definition = definitions_.at(record->spec.name);
    how.spec = record->spec;
    child_entry& one = children_[action.child];
    one.definition = definition;
    one.run = action.run;
    one.asked = false;
    how.path = path_below(path_, record->spec.name);
  }
  const std::weak_ptr<supervisor_node> weak = weak_from_this();
  const auto post = [weak, loop = loop_](auto what) {
    loop->post([weak, what = std::move(what)] {
      if (const auto self = weak.lock()) {
        what(*self);
      }
    });
  };
  const child_id id = action.child;
  const incarnation run = action.run;
  how.events.ready = [post, id, run, path = how.path] {
    post([=](supervisor_node& self) {
      self.happened({supervisor_event_kind::ready, path, run, {}, false, 0});
      self.feed(child_ready{id, run});
    });
  };
  how.events.ignored = [post, id, run] {
    post([=](supervisor_node& self) { self.feed(child_ignored{id, run}); });
  };
  how.events.ended = [post, id, run](const child_death& death) {
    post([=](supervisor_node& self) { self.on_ended(id, run, death); });
  };
  how.events.happened = told_.happened;
  happened({run == 1 ? supervisor_event_kind::started : supervisor_event_kind::restarted,
            how.path,
            run,
            {},
            false,
            0});
  const auto told = how.events.ended;
  try {
    std::shared_ptr<child_engine> engine = loop_->stand_in(how, *definition);
    if (!engine) {
      engine = definition->make(how);
    }
    {
      const mutex_guard lock{mutex_};
      children_[id].engine = engine;
    }
    engine->start();
  } catch (...) {
    told(death_of_start(std::current_exception()));
  }
}

std::shared_ptr<child_engine> supervisor_node::engine_of(child_id id, incarnation run) const {
  const mutex_guard lock{mutex_};
  const auto found = children_.find(id);
  return found == children_.end() || found->second.run != run ? nullptr : found->second.engine;
}

std::string supervisor_node::path_of(child_id id) const {
  const auto found = children_.find(id);
  return found == children_.end() || !found->second.definition
             ? std::string{}
             : path_below(path_, found->second.definition->spec.name);
}

void supervisor_node::carry_out(const ask_child_to_stop& action) {
  {
    const mutex_guard lock{mutex_};
    children_[action.child].asked = true;
  }
  if (const auto engine = engine_of(action.child, action.run)) {
    engine->ask_to_stop();
  }
}

void supervisor_node::carry_out(const kill_child& action) {
  supervisor_event event{supervisor_event_kind::killed, {}, action.run, {}, false, 0};
  {
    const mutex_guard lock{mutex_};
    // Of one that was not asked before, a kill is no surprise.
    event.asked = std::exchange(children_[action.child].asked, true);
    event.path = path_of(action.child);
  }
  happened(std::move(event));
  if (const auto engine = engine_of(action.child, action.run)) {
    engine->kill();
  }
}

void supervisor_node::carry_out(const forget_child& action) {
  child_entry dropped;  // what it holds is not destroyed under the lock
  const mutex_guard lock{mutex_};
  const auto found = children_.find(action.child);
  if (found != children_.end()) {
    dropped = std::move(found->second);
    children_.erase(found);
    // Another one of that name may have been added since.
    if (dropped.definition && decides_.find(dropped.definition->spec.name) == nullptr) {
      definitions_.erase(dropped.definition->spec.name);
    }
    forgotten_ = {action.child, dropped.definition, dropped.last_death};
  }
}

void supervisor_node::carry_out(const supervisor_ready&) {
  told_.ready();
}

void supervisor_node::carry_out(const supervisor_ended& action) {
  supervisor_outcome outcome;
  outcome.how = action.how;
  {
    const mutex_guard lock{mutex_};
    const auto found = children_.find(action.child);
    const bool there = found != children_.end();
    if (there || (action.child != 0 && forgotten_.id == action.child)) {
      const auto& death = there ? found->second.last_death : forgotten_.last_death;
      outcome.child = (there ? found->second.definition : forgotten_.definition)->spec.name;
      outcome.death = child_death{action.cause, death ? death->text : std::string{}};
    }
    if (action.how == supervisor_end::invalid) {
      outcome.text = to_string(decides_.mistakes());
    }
  }
  std::string death;
  if (outcome.death) {
    death = "child '" + path_below(path_, outcome.child) + "' ended (" +
            std::string{to_string(outcome.death->cause)} +
            (outcome.death->text.empty() ? "" : ": " + outcome.death->text) + ")";
  }
  switch (action.how) {
    case supervisor_end::stopped:
      outcome.text = "stopped";
      break;
    case supervisor_end::auto_shutdown:
      outcome.text = "its significant children have ended: " + death;
      break;
    case supervisor_end::gave_up:
      outcome.text =
          death + (action.why == exhausted::intensity        ? ": over limits.intensity"
                   : action.why == exhausted::start_attempts ? ": over limits.start_attempts"
                                                             : ": forgiven too often in a row");
      happened({path_.empty() ? supervisor_event_kind::gave_up : supervisor_event_kind::escalated,
                path_, 0, outcome.death, false, 0});
      break;
    case supervisor_end::invalid:
      break;
  }
  told_.ended(outcome);
}

void supervisor_node::carry_out(const answer_request& action) {
  const auto found = requests_.find(action.request);
  if (found == requests_.end()) {
    return;
  }
  const std::shared_ptr<pending> asked = found->second;
  requests_.erase(found);
  request_result result{action.outcome, {}};
  if (action.outcome == request_outcome::start_failed) {
    const mutex_guard lock{mutex_};
    if (const auto child = children_.find(asked->child); child != children_.end()) {
      result.death = child->second.last_death;
    }
  }
  asked->answer(std::move(result));
}

void supervisor_node::on_ended(child_id id, incarnation run, const child_death& how) {
  supervisor_event event{supervisor_event_kind::ended, {}, run, how, false, 0};
  std::shared_ptr<child_engine> engine;
  {
    const mutex_guard lock{mutex_};
    const auto found = children_.find(id);
    if (found == children_.end() || found->second.run != run) {
      return;
    }
    engine = std::exchange(found->second.engine, nullptr);
    const child_record* const record = decides_.find(id);
    event.path = path_of(id);
    event.asked = found->second.asked;
    if (record != nullptr && !event.asked) {
      event.death->cause = cause_for(record->spec.restart, how.cause);
    }
    found->second.last_death = event.death;
  }
  engine.reset();
  happened(std::move(event));
  feed(child_ended{id, run, how.cause});
}

void supervisor_node::happened(supervisor_event event) const {
  if (told_.happened) {
    told_.happened(event);
  }
}

// Looking.

children_picture supervisor_node::picture() const {
  const steady_time now = loop_->now();
  const mutex_guard lock{mutex_};
  const supervision_picture seen = decides_.picture(now);
  children_picture made{seen.version, {}};
  made.children.reserve(seen.children.size());
  const std::string budget = std::to_string(seen.counted) + " of " + std::to_string(seen.intensity);
  for (const child_picture& one : seen.children) {
    child_status status;
    status.name = one.name;
    status.phase = one.phase;
    status.ready = one.phase == child_phase::running;
    status.dynamic = one.dynamic;
    status.incarnation = one.run;
    status.restarts = one.run == 0 ? 0 : static_cast<int>(one.run - 1);
    status.forgiven = one.forgiven;
    status.budget = budget;
    if (one.forgiven > 0) {
      status.budget += ", " + std::to_string(one.forgiven) + " forgiven";
    }
    if (const auto known = definitions_.find(one.name); known != definitions_.end()) {
      status.kind = known->second->kind;
    }
    if (one.last_end) {
      status.last_death = child_death{*one.last_end, {}};
    }
    if (const auto found = children_.find(one.id); found != children_.end()) {
      if (found->second.engine) {
        status.pid = found->second.engine->pid();
      }
      if (status.last_death && found->second.last_death) {
        status.last_death->text = found->second.last_death->text;
      }
    }
    made.children.push_back(std::move(status));
  }
  return made;
}

child_counts supervisor_node::count() const {
  const mutex_guard lock{mutex_};
  const child_count seen = decides_.count();
  return {seen.specs, seen.active, seen.running, seen.dynamic};
}

bool supervisor_node::stopping() const {
  const mutex_guard lock{mutex_};
  return decides_.stopping();
}

definition_ptr supervisor_node::definition(const std::string& name) const {
  const mutex_guard lock{mutex_};
  const auto found = definitions_.find(name);
  return found == definitions_.end() ? nullptr : found->second;
}

std::shared_ptr<child_engine> supervisor_node::engine(const std::string& name) const {
  const mutex_guard lock{mutex_};
  const child_record* const record = decides_.find(name);
  if (record == nullptr) {
    return nullptr;
  }
  const auto found = children_.find(record->id);
  return found == children_.end() ? nullptr : found->second.engine;
}

}  // namespace troupe::detail
