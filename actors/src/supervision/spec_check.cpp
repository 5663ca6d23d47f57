// SPDX-License-Identifier: BSD-3-Clause
#include "supervision/spec_check.hpp"

#include "supervision/start_order.hpp"

#include <algorithm>
#include <cstddef>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <utility>

namespace troupe::detail {
namespace {

/// Inserted, deleted and exchanged characters between two names.
std::size_t distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) {
    row[j] = j;
  }
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = std::exchange(row[0], i);
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t exchanged = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = std::exchange(row[j], std::min({row[j] + 1, row[j - 1] + 1, exchanged}));
    }
  }
  return row[b.size()];
}

std::string cure_for_unknown(const std::string& name, const std::vector<child_spec>& specs) {
  constexpr std::size_t most = 2;
  constexpr std::size_t longest = 64;
  const child_spec* nearest = nullptr;
  std::size_t best = most + 1;
  for (const child_spec& spec : specs) {
    if (name.size() <= longest && spec.name.size() <= longest) {
      if (const std::size_t far = distance(name, spec.name); far < best && far < name.size()) {
        best = far;
        nearest = &spec;
      }
    }
  }
  return nearest == nullptr ? "add that child, or take the name out of .after"
                            : "did you mean '" + nearest->name + "'?";
}

/// `text` and `cure` of what is wrong with numbers, if `wrong`.
void note(std::vector<spec_mistake>& found, bool wrong, const std::string& child, std::string text,
          std::string cure) {
  if (wrong) {
    found.push_back({child, std::move(text), std::move(cure)});
  }
}

std::string in_ms(std::chrono::milliseconds time) {
  return std::to_string(time.count()) + " ms";
}

void check_rules(const supervisor_rules& rules, std::vector<spec_mistake>& found) {
  const restart_limits& limits = rules.limits;
  note(found, limits.intensity < 0, "", "limits.intensity is " + std::to_string(limits.intensity),
       "0 allows no restart, more allow as many; .forever has no limit");
  note(found, limits.period.count() <= 0, "", "limits.period is " + in_ms(limits.period),
       "give the time in which the restarts are counted, such as 5s");
  note(found, limits.start_attempts < 1, "",
       "limits.start_attempts is " + std::to_string(limits.start_attempts),
       "1 gives up at the first failed start");
  note(found, limits.backoff.count() < 0, "", "limits.backoff is " + in_ms(limits.backoff),
       "0 starts children again at once");
  note(found, limits.max_backoff < limits.backoff, "",
       "limits.max_backoff, " + in_ms(limits.max_backoff) + ", is below limits.backoff, " +
           in_ms(limits.backoff),
       "raise .max_backoff or lower .backoff");
  note(found, !(limits.jitter >= 0 && limits.jitter <= 1), "",
       "limits.jitter is " + std::to_string(limits.jitter),
       "give the part of a wait that is left to chance, from 0 to 1");
  note(found, limits.stable_after.count() < 0, "",
       "limits.stable_after is " + in_ms(limits.stable_after),
       "give the run after which the backoff begins anew; 0 always does");
  note(found, limits.forever && limits.max_backoff.count() == 0, "",
       "limits.forever without a backoff starts a child that cannot run as fast as the machine can",
       "give .backoff and .max_backoff, or use restart_forever(30s)");
  note(found, rules.max_children && *rules.max_children < 0, "",
       "max_children is " + std::to_string(rules.max_children.value_or(0)),
       "leave it out for no bound");
}

}  // namespace

std::vector<spec_mistake> check_child(const supervisor_rules& rules, const child_spec& spec) {
  std::vector<spec_mistake> found;
  note(found, spec.name.empty(), spec.name, "has no name", "name it: errors and pictures use it");
  note(found, spec.name.find('/') != std::string::npos, spec.name, "has a '/' in its name",
       "'/' separates the names of a path, as in child(\"a/b\")");
  note(found, spec.shutdown.count() < 0, spec.name, ".shutdown is " + in_ms(spec.shutdown),
       "0 kills it at once");
  note(found, spec.start_timeout.count() <= 0, spec.name,
       ".start_timeout is " + in_ms(spec.start_timeout), "give it time to be ready");
  for (const int code : spec.success_codes) {
    note(found, code < 0 || code > 255, spec.name,
         std::to_string(code) + " in .success_codes is no exit code", "those are 0 to 255");
  }
  note(found, spec.significant && spec.restart == restart::permanent, spec.name,
       "is significant and permanent, so it never ends for good",
       "make it transient or temporary, or not significant");
  note(found, spec.significant && rules.auto_shutdown == auto_shutdown::never, spec.name,
       "is significant, but .auto_shutdown is never",
       "set the supervisor's .auto_shutdown to any or all");
  note(found, std::find(spec.after.begin(), spec.after.end(), spec.name) != spec.after.end(),
       spec.name, "is .after itself", "take its own name out");
  return found;
}

std::vector<spec_mistake> check(const supervisor_rules& rules,
                                const std::vector<child_spec>& specs) {
  std::vector<spec_mistake> found;
  check_rules(rules, found);
  const bool all_temporary = std::all_of(specs.begin(), specs.end(), [](const child_spec& spec) {
    return spec.restart == restart::temporary;
  });
  note(found, rules.strategy != strategy::one_for_one && !specs.empty() && all_temporary, "",
       std::string{"the strategy is "} +
           (rules.strategy == strategy::one_for_all ? "one_for_all" : "rest_for_one") +
           ", but all children are temporary, so none is ever started again",
       "use one_for_one, or make children permanent or transient");
  std::unordered_map<std::string_view, std::size_t> seen;
  std::unordered_set<std::string_view> names;
  for (const child_spec& spec : specs) {
    names.insert(spec.name);
  }
  for (std::size_t i = 0; i < specs.size(); ++i) {
    const child_spec& spec = specs[i];
    std::vector<spec_mistake> own = check_child(rules, spec);
    found.insert(found.end(), own.begin(), own.end());
    const auto [first, is_new] = seen.emplace(spec.name, i);
    note(found, !is_new && !spec.name.empty(), spec.name,
         "is there twice, as number " + std::to_string(first->second + 1) + " and number " +
             std::to_string(i + 1),
         "give one of them another name");
    for (const std::string& name : spec.after) {
      note(found, !names.contains(name), spec.name,
           ".after names '" + name + "', which is no child of this supervisor",
           names.contains(name) ? "" : cure_for_unknown(name, specs));
    }
  }
  for (const std::vector<std::size_t>& cycle : order_of(specs).cycles) {
    std::string text;
    for (const std::size_t i : cycle) {
      text += "'" + specs[i].name + "' is after ";
    }
    found.push_back({specs[cycle.front()].name,
                     text + "'" + specs[cycle.front()].name + "': none of them can be first",
                     "take one of these names out of .after"});
  }
  return found;
}

std::string to_string(const std::vector<spec_mistake>& mistakes) {
  std::string text;
  for (const spec_mistake& one : mistakes) {
    text += (one.child.empty() ? std::string{"supervisor"} : "child '" + one.child + "'") + ": " +
            one.text + " (" + one.cure + ")\n";
  }
  return text;
}

}  // namespace troupe::detail
