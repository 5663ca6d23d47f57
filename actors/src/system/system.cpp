// SPDX-License-Identifier: BSD-3-Clause
#include "troupe/system.hpp"

#include "troupe/detail/code_address.hpp"
#include "troupe/detail/region.hpp"
#include "troupe/error.hpp"

#include "host/runtime.hpp"
#include "os/reactor.hpp"
#include "pools/worker/worker_actor.hpp"
#include "processes/process_core.hpp"
#include "trees/program_status.hpp"

#include <memory>
#include <utility>

namespace troupe {
namespace {

/// Static initializers run in the order of the linker's inputs, where the users of a library stand
/// before it: this one comes after those of the program.
constinit bool before_main = true;
[[gnu::constructor]] void program_is_initialized() {
  before_main = false;
}

[[noreturn]] void work(detail::worker_boot&& boot) {
  detail::run_worker(std::move(boot), &detail::run_process);
}

}  // namespace

system::system(int argc, char** argv, const system_options& options) {
  if (before_main) {
    // A worker begins in this constructor, and would run tasks in a program half of whose globals
    // were never made.
    throw not_bootstrapped{
        "troupe: a troupe::system cannot be a global object: it begins before main, when other "
        "globals, which tasks may use, do not exist yet. Make it the first line of main; it may "
        "be `static` there"};
  }
  detail::program self;
  self.arguments.assign(argv, argv + argc);
  self.entry = &work;
  detail::take_role(self);
  // First used here, before there are threads: a process forked during the first use would wait for
  // its guard for ever.
  static_cast<void>(detail::program_build_id());
  const auto runtime = detail::runtime::start(std::move(self));
  // So that main's first wait changes nothing about the program.
  static_cast<void>(detail::handover::of_this_thread());
  runtime->limit_join(options.join_timeout);
  runtime_ = runtime;
}

system::~system() {
  const auto runtime = std::static_pointer_cast<detail::runtime>(runtime_);
  if (runtime) {
    runtime->shut_down();
  }
}

std::vector<object_info> system::objects() const {
  return detail::live_objects();
}

supervisor_status system::tree() const {
  static_cast<void>(detail::runtime::current());  // throws in a process that was forked
  return detail::program_tree_now();
}

system_status system::status() const {
  static_cast<void>(detail::runtime::current());
  system_status made = detail::program_figures();
  made.stop_signal = stop_signal();
  made.stopping = stop_token().stop_requested();
  return made;
}

void system::stop_on_signals() {
  std::static_pointer_cast<detail::runtime>(runtime_)->stop_on_signals();
}

std::stop_token system::stop_token() const {
  return std::static_pointer_cast<detail::runtime>(runtime_)->stop_token();
}

int system::stop_signal() const noexcept {
  return std::static_pointer_cast<detail::runtime>(runtime_)->stop_signal();
}

}  // namespace troupe
