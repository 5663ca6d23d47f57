// SPDX-License-Identifier: BSD-3-Clause
#include "reference_model.hpp"
#include "supervision/supervision.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <functional>
#include <initializer_list>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <utility>
#include <variant>
#include <vector>

// Trees of supervisors in virtual time, in which everything happens at random: each supervisor is a
// `supervision` and a `reference_model` that hear the same events and have to do the same.
namespace troupe::detail {
namespace {

using namespace std::chrono_literals;

constexpr int breadth = 6;

/// What a tree is made of; kept over restarts of its supervisors.
struct blueprint {
  supervisor_rules rules;
  std::vector<child_spec> specs;
  std::map<std::string, std::unique_ptr<blueprint>> below;  // the children that are supervisors
};

class random_source {
 public:
  explicit random_source(std::uint64_t seed) : engine_{seed} {}
  int below(int n) { return static_cast<int>(engine_() % static_cast<std::uint64_t>(n)); }
  bool chance(int percent) { return below(100) < percent; }
  template <class T>
  T one_of(std::initializer_list<T> all) {
    return all.begin()[below(static_cast<int>(all.size()))];
  }

 private:
  std::mt19937_64 engine_;
};

child_spec random_spec(random_source& random, const std::string& name, bool significant) {
  child_spec made{.name = name};
  made.restart = random.one_of({restart::permanent, restart::permanent, restart::permanent,
                                restart::transient, restart::temporary});
  made.shutdown = random.one_of(
      {brutal_kill, std::chrono::milliseconds{1000}, std::chrono::milliseconds{2000}, no_limit});
  made.start_timeout = random.one_of({500ms, 5000ms, 60000ms});
  made.significant = significant && made.restart != restart::permanent && random.chance(20);
  return made;
}

std::unique_ptr<blueprint> random_blueprint(random_source& random, int& nodes_left, int depth) {
  auto made = std::make_unique<blueprint>();
  made->rules.strategy =
      random.one_of({strategy::one_for_one, strategy::one_for_all, strategy::rest_for_one});
  restart_limits& limits = made->rules.limits;
  limits.intensity = depth == 0 ? 200 : random.one_of({1, 5, 20});
  limits.period = random.one_of({1000ms, 5000ms});
  limits.start_attempts = random.one_of({1, 3, 5});
  limits.backoff = random.one_of({0ms, 10ms, 200ms});
  limits.max_backoff = random.one_of({200ms, 1000ms});
  limits.stable_after = random.one_of({500ms, 3000ms});
  limits.jitter = 0;
  limits.forever = limits.backoff.count() > 0 && random.chance(10);
  made->rules.auto_shutdown = depth == 0 || random.chance(60)
                                  ? auto_shutdown::never
                                  : random.one_of({auto_shutdown::any, auto_shutdown::all});
  made->rules.max_children = random.one_of<std::optional<int>>({std::nullopt, 2, 4});
  for (int i = 0; i < breadth && nodes_left > 0; ++i, --nodes_left) {
    child_spec spec = random_spec(random, std::string(1, static_cast<char>('a' + i)),
                                  made->rules.auto_shutdown != auto_shutdown::never);
    for (int j = 0; j < i; ++j) {
      if (random.chance(15)) {
        // Either way round, so that the order of starts is not the order of adding.
        const std::string other(1, static_cast<char>('a' + j));
        if (random.chance(50)) {
          spec.after.push_back(other);
        } else if (spec.after.empty()) {
          made->specs[static_cast<std::size_t>(j)].after.push_back(spec.name);
          break;
        }
      }
    }
    made->specs.push_back(spec);
  }
  // No cycles: what is left of them is taken out.
  if (!check(made->rules, made->specs).empty()) {
    for (child_spec& spec : made->specs) {
      spec.after.clear();
      if (spec.restart == restart::temporary) {
        spec.restart = restart::transient;
      }
    }
  }
  EXPECT_EQ(to_string(check(made->rules, made->specs)), "");
  return made;
}

/// Gives the tree so many nodes, breadth first.
std::unique_ptr<blueprint> random_tree(random_source& random, int nodes) {
  int left = nodes - 1;
  std::unique_ptr<blueprint> root = random_blueprint(random, left, 0);
  std::vector<blueprint*> line{root.get()};
  for (std::size_t i = 0; left > 0; ++i) {
    blueprint& at = *line[i];
    for (child_spec& spec : at.specs) {
      if (left > 0) {
        std::unique_ptr<blueprint> below = random_blueprint(random, left, 1);
        line.push_back(below.get());
        at.below.emplace(spec.name, std::move(below));
      }
    }
  }
  return root;
}

/// Everything that runs, and the one clock.
class world {
 public:
  world(std::uint64_t seed, int nodes) : random_{seed}, plan_{random_tree(random_, nodes)} {
    boot();
  }

  /// One thing happens. False: the models disagree, or an invariant is broken.
  bool step() {
    if (!root_) {
      boot();
    }
    const int what = random_.below(100);
    if (what < 12) {
      pass(random_.one_of({1ms, 20ms, 200ms, 1500ms}));
    } else if (what < 20 && !supervisors_.empty()) {
      request(*supervisors_[pick(supervisors_.size())]);
    } else if (what == 20 && random_.chance(2) && root_) {
      tell_stop(*root_);
    } else if (!workers_.empty()) {
      act(workers_[pick(workers_.size())]);
    }
    drain();
    return ok_;
  }
  /// Nothing fails any more: every child that is to run has to do so, after a while.
  bool calm_down() {
    for (int round = 0; round < 2000 && ok_; ++round) {
      if (!root_) {
        boot();
      }
      drain();
      bool quiet = true;
      for (std::size_t i = 0; i < workers_.size(); ++i) {
        const worker one = workers_[i];
        const child_phase phase = one.of->decides.find(one.id)->phase;
        if (phase == child_phase::starting || phase == child_phase::stopping) {
          quiet = false;
          if (phase == child_phase::starting) {
            tell_ready(*one.of, one.id, one.run);
          } else {
            tell_end(*one.of, one.id, one.run, end_cause::signal);
          }
          break;
        }
      }
      const bool waits = std::any_of(supervisors_.begin(), supervisors_.end(), [](const auto* s) {
        const child_count count = s->decides.count();
        return s->decides.next_time().has_value() || count.active != count.running;
      });
      if (quiet && !waits) {
        return ok_ && all_run();
      }
      if (quiet) {
        pass(1000ms);
      }
      round -= quiet ? 0 : 1;  // only the time is bounded
    }
    ADD_FAILURE() << "the tree does not come to rest";
    return false;
  }
  /// Stops the tree. Nothing may be left.
  bool stop() {
    if (root_) {
      tell_stop(*root_);
      drain();
    }
    while (ok_ && root_ && !workers_.empty()) {
      const worker one = workers_.back();
      if (one.of->decides.find(one.id)->phase == child_phase::stopping) {
        tell_end(*one.of, one.id, one.run, end_cause::signal);
        drain();
      } else {
        std::swap(workers_.back(), workers_[pick(workers_.size())]);
      }
    }
    EXPECT_FALSE(root_) << "the tree does not end";
    EXPECT_TRUE(workers_.empty() && supervisors_.empty()) << "something is left";
    return ok_ && !root_;
  }
  /// What supervisors were told so far.
  [[nodiscard]] std::uint64_t events() const { return events_; }
  /// Which causes and ends there were, and how often.
  [[nodiscard]] const std::map<std::string, std::uint64_t>& seen() const { return seen_; }

 private:
  struct node;
  struct worker {
    node* of;
    child_id id;
    incarnation run;
  };
  /// A supervisor that runs.
  struct node {
    node(const blueprint& what, node* above, child_id as, incarnation in)
        : plan{&what},
          decides{what.rules, what.specs},
          model{what.rules, what.specs},
          parent{above},
          id{as},
          run{in} {}
    const blueprint* plan;
    supervision decides;
    reference_model model;
    node* parent;
    child_id id;  // at the parent
    incarnation run;
    std::map<child_id, std::unique_ptr<node>> below;
    std::map<child_id, std::string> names;
    std::map<child_id, incarnation> alive;
    std::vector<std::string> history;
    bool dropped = false;
  };

  std::size_t pick(std::size_t n) {
    return static_cast<std::size_t>(random_.below(static_cast<int>(n)));
  }
  void boot() {
    root_ = std::make_unique<node>(*plan_, nullptr, 0, 0);
    open(*root_);
  }
  void open(node& at) {
    supervisors_.push_back(&at);
    for (const child_picture& child : at.decides.picture(now_).children) {
      at.names[child.id] = child.name;
    }
    at.history.push_back("start");
    at.model.start(now_);
    carry_out(at, at.decides.on(start_requested{}, now_));
  }

  void tell_ready(node& at, child_id id, incarnation run) {
    if (at.dropped || !is_alive(at, id, run)) {
      return;
    }
    at.history.push_back("ready " + at.names[id]);
    at.model.ready(at.names[id], now_);
    carry_out(at, at.decides.on(child_ready{id, run}, now_));
  }
  void tell_ignored(node& at, child_id id, incarnation run) {
    if (at.dropped || !is_alive(at, id, run)) {
      return;
    }
    at.history.push_back("ignored " + at.names[id]);
    gone(at, id);
    at.model.ignored(at.names[id], now_);
    carry_out(at, at.decides.on(child_ignored{id, run}, now_));
  }
  void tell_end(node& at, child_id id, incarnation run, end_cause cause) {
    if (at.dropped || !is_alive(at, id, run)) {
      return;
    }
    ++seen_[std::string{rule_of(cause).name}];
    at.history.push_back("end " + at.names[id] + " " + std::string{rule_of(cause).name});
    gone(at, id);
    at.model.ended(at.names[id], cause, now_);
    carry_out(at, at.decides.on(child_ended{id, run, cause}, now_));
  }
  void tell_stop(node& at) {
    if (at.dropped) {
      return;
    }
    at.history.push_back("stop");
    at.model.stop(now_);
    carry_out(at, at.decides.on(stop_requested{}, now_));
  }
  static bool is_alive(const node& at, child_id id, incarnation run) {
    const auto found = at.alive.find(id);
    return found != at.alive.end() && found->second == run;
  }
  /// To be done when the event that led to it has been dealt with.
  void later(std::function<void()> what) { line_.push_back(std::move(what)); }
  void drain() {
    while (!line_.empty()) {
      const std::function<void()> next = std::move(line_.front());
      line_.pop_front();
      next();
    }
    dropped_.clear();
  }
  void gone(node& at, child_id id) {
    at.alive.erase(id);
    workers_.erase(std::remove_if(workers_.begin(), workers_.end(),
                                  [&](const worker& one) { return one.of == &at && one.id == id; }),
                   workers_.end());
  }
  void pass(std::chrono::milliseconds time) {
    now_ += time;
    // The tree changes with each that is told.
    for (bool more = true; more && ok_;) {
      more = false;
      for (node* one : supervisors_) {
        if (one->decides.next_time() && *one->decides.next_time() <= now_) {
          one->history.push_back("time");
          one->model.pass(now_);
          carry_out(*one, one->decides.on(clock_advanced{}, now_));
          drain();
          more = true;
          break;
        }
      }
    }
  }
  void act(worker one) {
    const child_phase phase = one.of->decides.find(one.id)->phase;
    const int luck = random_.below(100);
    if (phase == child_phase::starting && luck < 80) {
      tell_ready(*one.of, one.id, one.run);
    } else if (phase == child_phase::starting && luck < 83) {
      tell_ignored(*one.of, one.id, one.run);
    } else if (phase == child_phase::stopping || luck < 93) {
      const auto cause =
          static_cast<end_cause>(random_.below(static_cast<int>(cause_table.size())));
      if (phase == child_phase::running && luck < 60) {
        return;  // most of the time all is well
      }
      tell_end(*one.of, one.id, one.run, cause);
    }
  }
  void request(node& at) {
    const std::uint64_t number = ++request_;
    const std::string name = random_.chance(70)
                                 ? std::string(1, static_cast<char>('a' + random_.below(breadth)))
                                 : "x" + std::to_string(random_.below(6));
    const int what = random_.below(10);
    if (what < 4) {
      const std::string fresh = "x" + std::to_string(random_.below(6));
      const child_spec spec =
          random_spec(random_, fresh, at.plan->rules.auto_shutdown != auto_shutdown::never);
      at.history.push_back("add " + fresh);
      at.model.add(number, spec, now_);
      carry_out(at, at.decides.on(add_requested{number, spec}, now_));
    } else if (what < 5) {
      at.history.push_back("remove " + name);
      at.model.remove(number, name, now_);
      carry_out(at, at.decides.on(remove_requested{number, name}, now_));
    } else if (what < 8) {
      at.history.push_back("restart " + name);
      at.model.restart_child(number, name, now_);
      carry_out(at, at.decides.on(restart_requested{number, name}, now_));
    } else {
      at.history.push_back("rest " + name);
      at.model.stop_child(number, name, now_);
      carry_out(at, at.decides.on(child_stop_requested{number, name}, now_));
    }
  }

  /// Both have to want the same, and to be in the same state.
  void compare(node& at, const action_list& todo) {
    std::vector<std::string> wanted;
    for (const supervision_action& one : todo) {
      if (const auto* a = std::get_if<start_child>(&one)) {
        at.names[a->child] =
            at.decides.find(a->child) == nullptr ? "?" : at.decides.find(a->child)->spec.name;
        wanted.push_back("start " + at.names[a->child]);
      } else if (const auto* b = std::get_if<ask_child_to_stop>(&one)) {
        wanted.push_back("ask " + at.names[b->child]);
      } else if (const auto* c = std::get_if<kill_child>(&one)) {
        wanted.push_back("kill " + at.names[c->child]);
      } else if (const auto* d = std::get_if<forget_child>(&one)) {
        const auto found = at.names.find(d->child);
        wanted.push_back("forget " + (found == at.names.end() ? unnamed_ : found->second));
      } else if (std::holds_alternative<supervisor_ready>(one)) {
        wanted.emplace_back("ready");
      } else if (const auto* e = std::get_if<supervisor_ended>(&one)) {
        wanted.emplace_back(e->how == supervisor_end::stopped         ? "stopped"
                            : e->how == supervisor_end::auto_shutdown ? "auto-shutdown"
                                                                      : "gave up");
        ++seen_["ended: " + wanted.back()];
      } else if (const auto* f = std::get_if<answer_request>(&one)) {
        wanted.push_back(std::to_string(f->request) +
                         (f->outcome == request_outcome::done ? " done" : " refused"));
      }
    }
    std::vector<std::string> expected = at.model.take_actions();
    ++events_;
    seen_["actions"] += wanted.size();
    std::sort(wanted.begin(), wanted.end());
    std::sort(expected.begin(), expected.end());
    // The order within one event means nothing: what is started or stopped one after the other comes
    // in different events.
    for (const child_picture& child : at.decides.picture(now_).children) {
      at.names.emplace(child.id, child.name);
    }
    std::string is;
    for (const child_picture& child : at.decides.picture(now_).children) {
      is += child.name + std::string{to_string(child.phase)} + std::to_string(child.run) + " ";
    }
    std::string should;
    for (const reference_model::kid& k : at.model.kids()) {
      constexpr const char* names[] = {"stopped", "starting", "running", "stopping"};
      should += k.spec.name +
                (k.pausing  ? "pausing"
                 : k.queued ? "waiting"
                            : names[k.is]) +
                std::to_string(k.run) + " ";
    }
    if (wanted != expected || is != should) {
      ok_ = false;
      std::string last;
      const std::size_t from = at.history.size() < 40 ? 0 : at.history.size() - 40;
      for (std::size_t i = from; i < at.history.size(); ++i) {
        last += "\n  " + at.history[i];
      }
      ADD_FAILURE() << "strategy " << static_cast<int>(at.plan->rules.strategy)
                    << "\n does:  " << testing::PrintToString(wanted)
                    << "\n model: " << testing::PrintToString(expected) << "\n is:    " << is
                    << "\n model: " << should << "\n after:" << last;
    }
    at.history.push_back("   -> " + testing::PrintToString(wanted) + " " + is);
    if (at.history.size() > 200) {
      at.history.erase(at.history.begin(), at.history.begin() + 100);
    }
  }

  void carry_out(node& at, const action_list& todo) {
    compare(at, todo);
    if (!ok_) {
      return;
    }
    for (const supervision_action& one : todo) {
      if (const auto* a = std::get_if<start_child>(&one)) {
        if (!at.alive.emplace(a->child, a->run).second) {
          ADD_FAILURE() << at.names[a->child] << " is started while its old run is alive";
          ok_ = false;
        }
      }
    }
    for (const supervision_action& one : todo) {
      if (!ok_) {
        return;
      }
      if (const auto* a = std::get_if<start_child>(&one)) {
        const auto below = at.plan->below.find(at.names[a->child]);
        if (below == at.plan->below.end() || a->child > at.plan->specs.size()) {
          workers_.push_back({&at, a->child, a->run});
        } else {
          auto made = std::make_unique<node>(*below->second, &at, a->child, a->run);
          node& child = *made;
          at.below[a->child] = std::move(made);
          open(child);
        }
      } else if (const auto* b = std::get_if<ask_child_to_stop>(&one)) {
        if (const auto found = at.below.find(b->child); found != at.below.end()) {
          later([this, child = found->second.get()] { tell_stop(*child); });
        }
      } else if (const auto* c = std::get_if<kill_child>(&one)) {
        later([this, &at, id = c->child, run = c->run] { kill(at, id, run); });
      } else if (std::holds_alternative<supervisor_ready>(one)) {
        if (at.parent != nullptr) {
          later([this, &at] { tell_ready(*at.parent, at.id, at.run); });
        }
      } else if (const auto* e = std::get_if<supervisor_ended>(&one)) {
        later([this, &at, end = *e] { close(at, end); });
      }
    }
  }
  /// The whole tree below is gone at once.
  void kill(node& at, child_id id, incarnation run) {
    if (at.dropped || !is_alive(at, id, run)) {
      return;
    }
    if (const auto found = at.below.find(id); found != at.below.end()) {
      drop(*found->second);
      dropped_.push_back(std::move(found->second));
      at.below.erase(found);
      tell_end(at, id, run, end_cause::signal);
    }
    // A worker's end comes as a step of its own.
  }
  void drop(node& at) {
    at.dropped = true;
    for (auto& [id, below] : at.below) {
      drop(*below);
    }
    std::erase(supervisors_, &at);
    std::erase_if(workers_, [&](const worker& one) { return one.of == &at; });
  }
  void close(node& at, const supervisor_ended& end) {
    if (at.dropped) {
      return;
    }
    EXPECT_TRUE(at.alive.empty()) << "ended with children";
    ok_ = ok_ && at.alive.empty();
    drop(at);
    if (at.parent == nullptr) {
      dropped_.push_back(std::move(root_));
      return;
    }
    dropped_.push_back(std::move(at.parent->below.at(at.id)));
    at.parent->below.erase(at.id);
    tell_end(*at.parent, at.id, at.run, cause_of(end));
  }
  bool all_run() {
    for (const node* one : supervisors_) {
      for (const child_picture& child : one->decides.picture(now_).children) {
        if (child.phase != child_phase::running && child.phase != child_phase::stopped) {
          ADD_FAILURE() << child.name << " is " << to_string(child.phase);
          return false;
        }
      }
    }
    return true;
  }

  random_source random_;
  std::unique_ptr<blueprint> plan_;
  std::unique_ptr<node> root_;
  std::vector<node*> supervisors_;
  std::vector<worker> workers_;
  steady_time now_ = steady_time{} + 1000h;
  std::uint64_t request_ = 0;
  std::string unnamed_ = "?";
  std::map<std::string, std::uint64_t> seen_;
  std::uint64_t events_ = 0;
  std::deque<std::function<void()>> line_;
  std::vector<std::unique_ptr<node>> dropped_;  // kept until no function in line names them
  bool ok_ = true;
};

std::uint64_t first_seed() {
  const char* const given = std::getenv("TROUPE_SEED");
  return given == nullptr ? std::random_device{}() : std::strtoull(given, nullptr, 10);
}

// Under a sanitizer an event takes ten times as long.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr std::uint64_t events_of_all = 50'000;
#else
constexpr std::uint64_t events_of_all = 500'000;
#endif

/// FAULTS S26. `TROUPE_SEED=n` repeats a run that failed.
TEST(SupervisionModel, TreesOf500NodesDoWhatTheReferenceModelDoes) {
  constexpr int trees = 5;
  const std::uint64_t seed = first_seed();
  std::map<std::string, std::uint64_t> happened;
  for (std::uint64_t i = 0; i < trees; ++i) {
    SCOPED_TRACE("TROUPE_SEED=" + std::to_string(seed + i));
    world all{seed + i, 500};
    while (all.events() < events_of_all / trees) {
      ASSERT_TRUE(all.step()) << "at event " << all.events();
    }
    ASSERT_TRUE(all.calm_down());
    ASSERT_TRUE(all.stop());
    happened.insert(all.seen().begin(), all.seen().end());
    std::printf("seed %llu: %llu events, %llu actions\n", static_cast<unsigned long long>(seed + i),
                static_cast<unsigned long long>(all.events()),
                static_cast<unsigned long long>(all.seen().at("actions")));
  }
  for (const cause_rule& rule : cause_table) {
    EXPECT_TRUE(happened.contains(std::string{rule.name})) << "never happened: " << rule.name;
  }
  for (const char* how : {"ended: stopped", "ended: gave up", "ended: auto-shutdown"}) {
    EXPECT_TRUE(happened.contains(how)) << "never happened: " << how;
  }
}

}  // namespace
}  // namespace troupe::detail
