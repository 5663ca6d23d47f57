// SPDX-License-Identifier: BSD-3-Clause
#include "trees/service/service_run.hpp"

#include "troupe/error.hpp"

#include "trees/service/service_coroutine.hpp"

#include <algorithm>
#include <asio/io_context.hpp>
#include <chrono>
#include <memory>
#include <stop_token>

namespace troupe::detail {
namespace {

/// False: the service is to stop. The watchdog is for what the function does, so it hears of this.
bool sleep_between_runs(service_state& self) {
  using std::chrono::milliseconds;
  milliseconds left{self.role.every_ms};
  const milliseconds most = self.role.beat_ms < 0 ? left : milliseconds{self.role.beat_ms};
  while (left.count() > 0) {
    const milliseconds part = std::min(left, most);
    if (!self.sleep(part)) {
      return false;
    }
    left -= part;
    self.beat();
  }
  return !self.stop.stop_requested();
}

/// In a loop of its own.
void run_coroutine(service_state& self, const bound_call& target) {
  const auto where = std::make_shared<coroutine_thread>();
  std::exception_ptr thrown;
  bool over = false;
  // Not owned: it is not used behind this function, where `self` may be gone.
  const auto run = std::make_shared<service_coroutine>(
      std::shared_ptr<service_state>{std::shared_ptr<void>{}, &self}, where, target,
      [&](std::exception_ptr e) {
        thrown = std::move(e);
        over = true;
      });
  const std::stop_callback on_stop{self.stop.get_token(), [run] { run->ask_to_stop(); }};
  run->begin();
  where->run_until([&] { return over; });
  if (thrown) {
    std::rethrow_exception(thrown);
  }
}

}  // namespace

bool makes_coroutine(const bound_call& target) noexcept {
  try {
    const attachment_source scope{target.attachments()};
    return decode_task_callable(target.callable())->is_coroutine();
  } catch (...) {  // of the user's: its start will tell
    return false;
  }
}

void run_service(service_state& self, const bound_call& target) {
  if (makes_coroutine(target)) {
    run_coroutine(self, target);
    return;
  }
  target();
  while (self.role.every_ms >= 0 && sleep_between_runs(self)) {
    target();
  }
}

void run_probes(service_state& self, const bound_call& probe) {
  while (self.sleep(std::chrono::milliseconds{self.role.probe_ms})) {
    if (!self.ready) {
      continue;
    }
    self.host->say(line_kind::probe_begins, {}, true);
    try {
      probe();
      self.host->say(line_kind::probe_ends, {}, true);
    } catch (...) {  // of the user's
      self.host->say(line_kind::probe_failed, text_of(std::current_exception()), true);
      return;
    }
  }
}

std::string text_of(const std::exception_ptr& thrown) {
  const failure why = capture_failure(thrown);
  return why.type_name + ": " + why.text;
}

}  // namespace troupe::detail
