// SPDX-License-Identifier: BSD-3-Clause
#include "troupe/error.hpp"
#include "troupe/testing.hpp"

#include "supervision/spec_check.hpp"
#include "testing/virtual_loop.hpp"
#include "trees/children/child_engine.hpp"
#include "trees/supervisor_core.hpp"

#include <map>
#include <stdexcept>
#include <utility>

namespace troupe {
namespace detail {
namespace {

/// A run of a child that is none.
class stand_in_engine final : public child_engine,
                              public std::enable_shared_from_this<stand_in_engine> {
 public:
  stand_in_engine(child_run how, const simulated_child& does) : how_{std::move(how)}, does_{does} {}

  void start() override {
    alive_ = true;
    if (!does_.never_ready) {
      later(does_.ready_after, [](stand_in_engine& self) {
        if (self.alive_) {
          self.how_.events.ready();
        }
      });
    }
    if (does_.ends_after) {
      later(*does_.ends_after,
            [](stand_in_engine& self) { self.die({self.does_.ends_with, "simulated"}); });
    }
  }
  void ask_to_stop() override {
    later(does_.stops_after, [](stand_in_engine& self) { self.die({end_cause::finished, {}}); });
  }
  void kill() override {
    later(std::chrono::nanoseconds{0},
          [](stand_in_engine& self) { self.die({end_cause::signal, "killed"}); });
  }
  bool die(const child_death& how) override {
    if (std::exchange(alive_, false)) {
      how_.events.ended(how);
    }
    return true;
  }

 private:
  void later(std::chrono::nanoseconds time, void (*what)(stand_in_engine&)) {
    how_.loop->call_at(how_.loop->now() + time, [self = shared_from_this(), what] { what(*self); });
  }

  const child_run how_;
  const simulated_child does_;
  bool alive_ = false;
};

}  // namespace

class simulation_state final : public virtual_loop {
 public:
  simulation_state(std::shared_ptr<supervisor_core> tree, const simulation_options& options)
      : virtual_loop{options.seed}, core{std::move(tree)}, how{options}, begin{now()} {}

  std::shared_ptr<child_engine> stand_in(const child_run& run,
                                         const child_definition& of) override {
    if (of.below) {
      return nullptr;
    }
    const auto known = behaviors.find(run.path);
    if (known == behaviors.end() && of.simulate && how.run_coroutines) {
      return of.simulate(run);
    }
    return std::make_shared<stand_in_engine>(
        run, known == behaviors.end() ? simulated_child{} : known->second);
  }
  void note(const supervisor_event& event) {
    events.push_back({now() - begin, event});
    const auto [first, last] = kills.equal_range(events.size());
    for (auto one = first; one != last; ++one) {
      // Behind what the supervisor is doing.
      post([this, path = one->second.first, cause = one->second.second] {
        // One that is not there, as its supervisor may not be either, does not die.
        try {
          if (const auto engine = core->engine(path)) {
            engine->die({cause, "simulated"});
          }
        } catch (const std::invalid_argument&) {  // NOLINT(bugprone-empty-catch)
        } catch (const error&) {                  // NOLINT(bugprone-empty-catch)
        }
      });
    }
  }

  std::shared_ptr<supervisor_core> core;  // whose last run keeps this object: until the end
  const simulation_options how;
  const steady_time begin;
  std::map<std::string, simulated_child> behaviors;
  std::multimap<std::size_t, std::pair<std::string, end_cause>> kills;
  std::vector<simulated_event> events;
  bool ready = false;
  std::optional<supervisor_outcome> ended;
};

}  // namespace detail

std::string to_string(const simulated_event& what) {
  const auto ms = std::chrono::floor<std::chrono::milliseconds>(what.at).count();
  const supervisor_event& event = what.event;
  std::string text = std::to_string(ms) + "ms " + (event.path.empty() ? "the tree" : event.path) +
                     " " + std::string{to_string(event.kind)};
  if (event.death) {
    text += ": " + std::string{to_string(event.death->cause)};
  }
  return text;
}

simulation::simulation(const supervisor& tree, const simulation_options& how) {
  const auto core = detail::supervisor_access::core(tree);
  if (const std::vector<spec_mistake> mistakes = core->check(); !mistakes.empty()) {
    throw std::invalid_argument{"troupe: the tree cannot be started:\n" +
                                detail::to_string(mistakes)};
  }
  core->check_is_idle();
  state_ = std::make_shared<detail::simulation_state>(core, how);
}

simulation::~simulation() {
  try {
    if (state_->core->running()) {
      state_->core->kill();
    }
  } catch (...) {  // of a tree that does not end, which is dropped
    state_->core->child_ended({});
  }
  state_->clear();
  state_->core.reset();
}

void simulation::behave(const std::string& path, const simulated_child& how) {
  state_->behaviors.insert_or_assign(path, how);
}

bool simulation::start() {
  detail::simulation_state& self = *state_;
  self.core->check_is_idle();
  self.ready = false;
  self.ended.reset();
  const auto node = self.core->make_node(
      state_, "",
      {[&self] { self.ready = true; },
       [&self](const supervisor_outcome& outcome) {
         self.note({supervisor_event_kind::stopped, {}, 0, outcome.death, false, 0});
         self.ended = outcome;
         self.core->child_ended(outcome);
       },
       [&self](const supervisor_event& event) { self.note(event); }},
      false);
  node->tell(detail::start_requested{});
  self.drive([&self] { return self.ready || self.ended; });
  return self.ready && !self.ended;
}

void simulation::run_for(std::chrono::nanoseconds time) {
  state_->run(state_->now() + time, [] { return false; });
}

void simulation::kill(const std::string& path, end_cause cause) {
  const auto engine = state_->core->engine(path);
  if (!engine || !engine->die({cause, "simulated"})) {
    throw error{errc::wrong_state, task_ran::no,
                "troupe: child '" + path + "' does not run, or is a supervisor"};
  }
  run_for(std::chrono::nanoseconds{0});
}

void simulation::kill_at(std::size_t event, const std::string& path, end_cause cause) {
  state_->kills.emplace(event, std::pair{path, cause});
}

std::chrono::nanoseconds simulation::now() const {
  return state_->now() - state_->begin;
}

const std::vector<simulated_event>& simulation::happened() const {
  return state_->events;
}

std::optional<supervisor_outcome> simulation::outcome() const {
  return state_->ended;
}

}  // namespace troupe
