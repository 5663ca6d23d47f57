// SPDX-License-Identifier: BSD-3-Clause

// The kinds of children, from their public descriptions.

#include "troupe/child_spec.hpp"
#include "troupe/supervisor.hpp"
#include "troupe/thread_pool.hpp"

#include "host/runtime.hpp"
#include "pools/process/pool_core_impl.hpp"
#include "pools/thread/thread_core.hpp"
#include "trees/children/local_engine.hpp"
#include "trees/children/pool_engine.hpp"
#include "trees/children/process_engine.hpp"
#include "trees/service/service_run.hpp"
#include "trees/supervisor_core.hpp"
#include "trees/supervisor_engine.hpp"

#include <memory>
#include <stdexcept>
#include <utility>

namespace troupe {
namespace detail {
namespace {

constexpr std::chrono::milliseconds default_shutdown{5'000};
constexpr std::chrono::milliseconds default_start_timeout{60'000};

/// `Options` are those of any kind of child.
template <class Options>
child_spec spec_of(std::string name, const Options& options,
                   std::chrono::milliseconds shutdown = default_shutdown,
                   std::chrono::milliseconds start_timeout = default_start_timeout) {
  child_spec spec;
  spec.name = std::move(name);
  spec.restart = options.restart;
  spec.after = options.after;
  spec.shutdown = options.shutdown.value_or(shutdown);
  spec.start_timeout = options.start_timeout.value_or(start_timeout);
  spec.significant = options.significant;
  spec.success_codes = options.success_codes;
  return spec;
}

troupe::child_spec define(child_spec spec, std::string kind,
                          std::function<std::shared_ptr<child_engine>(const child_run&)> make,
                          std::shared_ptr<supervisor_core> below = nullptr) {
  return child_spec_access::make(std::make_shared<const child_definition>(
      child_definition{std::move(spec), std::move(kind), std::move(make), std::move(below)}));
}

troupe::child_spec define(child_spec spec, std::string kind, placement where, process_plan plan) {
  if (!plan.target) {
    throw std::invalid_argument{"troupe: child '" + spec.name + "' has no function to run"};
  }
  const auto shared = std::make_shared<const process_plan>(std::move(plan));
  child_definition made{std::move(spec), std::move(kind),
                        [where, shared](const child_run& how) -> std::shared_ptr<child_engine> {
                          if (is_in_process(where, how.in_process)) {
                            return std::make_shared<local_engine>(how, shared);
                          }
                          return std::make_shared<process_engine>(how, shared);
                        }};
  if (shared->coroutine) {
    process_plan simulated = *shared;
    simulated.probe = {};
    made.simulate = [plan = std::make_shared<const process_plan>(std::move(simulated))](
                        const child_run& how) { return std::make_shared<local_engine>(how, plan); };
  }
  return child_spec_access::make(std::make_shared<const child_definition>(std::move(made)));
}

void check_positive(const std::string& name, const char* what, std::chrono::milliseconds time) {
  if (time.count() <= 0) {
    throw std::invalid_argument{"troupe: child '" + name + "': ." + what + " = " +
                                std::to_string(time.count()) + " ms is not positive"};
  }
}

}  // namespace
}  // namespace detail

const std::string& child_spec::name() const noexcept {
  return made_->spec.name;
}
const std::string& child_spec::kind() const noexcept {
  return made_->kind;
}

child_spec child_process(std::string name, bound_call function, const child_options& options) {
  detail::process_plan plan;
  plan.target = std::move(function);
  plan.start = options.start;
  return detail::define(detail::spec_of(std::move(name), options), "process", options.placement,
                        std::move(plan));
}

child_spec child_service(std::string name, bound_call function, const service_options& options) {
  if (options.watchdog) {
    detail::check_positive(name, "watchdog", *options.watchdog);
  }
  if (options.every && options.every->count() < 0) {
    throw std::invalid_argument{"troupe: child '" + name + "': .every is negative"};
  }
  if (options.probe) {
    detail::check_positive(name, "probe_interval", options.probe_interval);
    detail::check_positive(name, "probe_timeout", options.probe_timeout);
  }
  detail::process_plan plan;
  plan.service = true;
  plan.coroutine = detail::makes_coroutine(function);
  plan.target = std::move(function);
  plan.start = options.start;
  plan.ready_at_start = options.ready == readiness::at_start;
  plan.watchdog = options.watchdog;
  plan.every = options.every;
  plan.probe = options.probe;
  plan.probe_interval = options.probe_interval;
  plan.probe_timeout = options.probe_timeout;
  return detail::define(detail::spec_of(std::move(name), options), "service", options.placement,
                        std::move(plan));
}

child_spec child_pool(std::string name, const pool_options& pool, const child_options& options) {
  if (options.placement == placement::in_process) {
    throw std::invalid_argument{"troupe: child '" + name +
                                "': a pool has its workers in processes: child_thread_pool is one "
                                "in this process"};
  }
  const auto make = std::make_shared<const detail::pool_maker>(
      [pool](const std::function<void(const detail::engine_ptr&)>& made) {
        return detail::make_pool(pool, [&made](const detail::engine_ptr& engine) {
          // The tree closes it in its turn, not the first signal.
          detail::runtime::current()->leave_to_tree(*engine);
          made(engine);
        });
      });
  return detail::define(detail::spec_of(std::move(name), options), "pool",
                        [make](const detail::child_run& how) {
                          return std::make_shared<detail::pool_engine>(how, make);
                        });
}

child_spec child_thread_pool(std::string name, const thread_pool_options& pool,
                             const child_options& options) {
  const auto make = std::make_shared<const detail::pool_maker>(
      [pool](const std::function<void(const detail::engine_ptr&)>& made) {
        detail::engine_ptr engine = detail::make_thread_pool_for_parent(pool);
        made(engine);
        return engine;
      });
  return detail::define(detail::spec_of(std::move(name), options), "thread pool",
                        [make](const detail::child_run& how) {
                          return std::make_shared<detail::pool_engine>(how, make);
                        });
}

child_spec child_supervisor(std::string name, const supervisor& below,
                            const child_options& options) {
  const std::shared_ptr<detail::supervisor_core> core = detail::supervisor_access::core(below);
  return detail::define(
      detail::spec_of(std::move(name), options, no_limit, no_limit), "supervisor",
      [core](const detail::child_run& how) {
        return std::make_shared<detail::supervisor_engine>(how, core);
      },
      core);
}

}  // namespace troupe
