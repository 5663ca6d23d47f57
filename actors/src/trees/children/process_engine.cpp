// SPDX-License-Identifier: BSD-3-Clause
#include "trees/children/process_engine.hpp"

#include "troupe/death.hpp"

#include "host/runtime.hpp"
#include "supervision/causes.hpp"
#include "symbols/symbols.hpp"
#include "trees/service/service_child.hpp"

#include <signal.h>

#include <algorithm>
#include <cstddef>
#include <span>
#include <utility>

namespace troupe::detail {
namespace {

/// From SIGABRT, whose handler writes down a backtrace, to SIGKILL.
constexpr std::chrono::milliseconds time_for_backtrace{2'000};

/// What a process noted of the signal that ended it.
std::string crash_text(const exit_notice& notice, const std::optional<crash_report>& crash) {
  if (!crash || notice.kind != 2 || crash->details.signal != notice.value) {
    return {};
  }
  std::string text = ", " + describe_signal_code(crash->details.signal, crash->details.code) +
                     (crash->details.stack_overflow ? ", most likely a stack overflow" : "");
  constexpr std::size_t most_frames = 12;
  const std::span<const code_location> frames{crash->details.frames};
  for (const std::string& line :
       describe_code(frames.first(std::min(frames.size(), most_frames)))) {
    text += "\n    at " + line;
  }
  return text;
}

/// How the process ended, as far as the kernel and the fork server tell.
child_death death_of(const exit_notice& notice, const std::vector<int>& success_codes,
                     const std::string& crash) {
  if (notice.kind == 1) {
    const exit_status status = exited{notice.value};
    return {cause_of(status, success_codes), to_string(status)};
  }
  if (notice.kind == 2) {
    const std::string text = to_string(exit_status{killed_by{notice.value}}) + crash;
    if (notice.out_of_memory == oom_kill::yes) {
      return {end_cause::machine_memory, text + ", by the kernel's OOM killer"};
    }
    if (notice.value == SIGXCPU) {
      return {end_cause::own_cpu, text + ", as for going over " + limit_of_signal(SIGXCPU)};
    }
    return {end_cause::signal, text};
  }
  if (notice.with_server) {
    return {end_cause::fork_server, "the fork server died"};
  }
  return {end_cause::exit_code, "how it ended is not known: its status was taken by another wait"};
}

}  // namespace

process_engine::process_engine(child_run how, std::shared_ptr<const process_plan> plan)
    : how_{std::move(how)}, plan_{std::move(plan)} {}

process_engine::~process_engine() {
  if (line_ && runtime_) {
    runtime_->unwatch(line_.number());
  }
}

void process_engine::start() {
  runtime_ = runtime::current();
  auto [ours, theirs] = make_service_line();
  watch_ = std::make_shared<service_watch>(how_, plan_, [weak = weak_from_this()](bool hangs) {
    if (const auto self = weak.lock()) {
      self->put_down(hangs);
    }
  });
  process_options options;
  options.name = how_.path;
  options.daemon = true;
  options.start = plan_->start;
  process_ = std::make_shared<process_core>(
      options,
      call(&run_supervised, role_of(*plan_, how_.run), theirs, plan_->target, plan_->probe));
  theirs = {};
  line_ = std::move(ours);
  // On the reactor's thread: what is read there is dealt with on the loop's.
  runtime_->watch(line_.number(), [weak = weak_from_this()] {
    if (const auto self = weak.lock()) {
      self->how_.loop->post([self] { self->read_line(); });
    }
  });
  process_->on_end([weak = weak_from_this()](const exit_notice& notice,
                                             const std::optional<crash_report>& crash) {
    if (const auto self = weak.lock()) {
      self->how_.loop->post([self, notice, crash] { self->on_end(notice, crash); });
    }
  });
  process_->start();
  alive_ = true;
  pid_ = process_->pid();
  if (!plan_->service) {
    how_.events.ready();
  }
}

void process_engine::ask_to_stop() {
  if (alive_) {
    if (plan_->service) {
      say_stop(line_);
    }
    process_->signal(SIGTERM);
  }
}

void process_engine::kill() {
  if (alive_) {
    process_->signal(SIGKILL);
  }
}

void process_engine::read_line() {
  if (alive_) {
    read_service_line(
        line_, [this](line_kind what, const std::string& text) { watch_->on_line(what, text); });
    watch_->set_alarm();
  }
}

void process_engine::put_down(bool hangs) {
  if (!alive_) {
    return;
  }
  if (!hangs) {
    say_stop(line_);
  }
  process_->signal(hangs ? SIGABRT : SIGTERM);
  how_.loop->call_at(later(how_.loop->now(), time_for_backtrace), [weak = weak_from_this()] {
    if (const auto self = weak.lock()) {
      self->kill();
    }
  });
}

void process_engine::on_end(const exit_notice& notice, const std::optional<crash_report>& crash) {
  read_line();  // its last words
  alive_ = false;
  watch_->end();
  runtime_->unwatch(line_.number());
  line_.reset();
  child_death how = death_of(notice, how_.spec.success_codes, crash_text(notice, crash));
  if (const auto& because = watch_->because()) {
    // What it said last is the cause, if the end looks like it.
    const bool threw = because->cause == end_cause::threw;
    if (!threw || notice.kind == 1) {
      how.text = because->text + (threw ? "" : ": " + how.text);
      how.cause = because->cause;
    }
  }
  how_.events.ended(how);
}

}  // namespace troupe::detail
