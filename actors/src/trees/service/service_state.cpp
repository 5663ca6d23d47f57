// SPDX-License-Identifier: BSD-3-Clause
#include "trees/service/service_state.hpp"

#include "troupe/detail/futex.hpp"
#include "troupe/error.hpp"
#include "troupe/this_service.hpp"

#include <unistd.h>

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <utility>

namespace troupe::detail {
namespace {

constinit service_state* of_process = nullptr;

const service_state*& of_thread() noexcept {
  constinit thread_local const service_state* self = nullptr;
  return self;
}

service_state& service() {
  service_state* const self = service_state::here();
  if (self == nullptr) {
    throw error{errc::wrong_state, task_ran::no,
                "troupe: neither this process nor this thread is a service of a supervisor (see "
                "child_service)"};
  }
  return *self;
}

}  // namespace

std::int64_t service_host::now_ns() const noexcept {
  return std::chrono::steady_clock::now().time_since_epoch().count();
}

void service_host::sleep(const std::stop_token& stop, std::chrono::nanoseconds time) {
  std::mutex mutex;
  std::condition_variable_any never;
  std::unique_lock lock{mutex};
  if (const deadline until = deadline_after(time)) {
    never.wait_until(lock, stop, *until, [] { return false; });
  } else {
    never.wait(lock, stop, [] { return false; });
  }
}

service_state::service_state(const service_role& as, std::shared_ptr<service_host> in)
    : role{as}, host{std::move(in)}, pid{::getpid()} {}

service_state* service_state::here() noexcept {
  // A handle of the thread's own: `this_service` changes what it says of itself.
  auto* const self = of_thread() != nullptr ? const_cast<service_state*>(of_thread()) : of_process;
  return self != nullptr && self->role.service && self->pid == ::getpid() ? self : nullptr;
}

void service_state::become(service_state* self) noexcept {
  of_process = self;
}

void service_state::say_ready() {
  if (!ready.exchange(true)) {
    host->say(line_kind::ready, {}, true);
  }
}

void service_state::beat() {
  if (role.beat_ms < 0 || !ready) {
    return;
  }
  const std::int64_t now = host->now_ns();
  std::int64_t next = next_beat_ns.load(std::memory_order_relaxed);
  const std::int64_t after = now + role.beat_ms * 1'000'000;
  // Of threads that come at the same time, one sends.
  if (now >= next && next_beat_ns.compare_exchange_strong(next, after, std::memory_order_relaxed)) {
    host->say(line_kind::beat, {}, false);
  }
}

bool service_state::sleep(std::chrono::nanoseconds time) {
  const std::stop_token token = stop.get_token();
  host->sleep(token, time);
  return !token.stop_requested();
}

as_service::as_service(const service_state& self) noexcept
    : self_{self}, before_{std::exchange(of_thread(), &self)} {
  if (self_.running != nullptr) {
    self_.running->store(&self_, std::memory_order_relaxed);
  }
}
as_service::~as_service() {
  if (self_.running != nullptr) {
    self_.running->store(before_, std::memory_order_relaxed);
  }
  of_thread() = before_;
}

bool service_sleep(std::chrono::nanoseconds time) {
  return service().sleep(time);
}

}  // namespace troupe::detail

namespace troupe::this_service {

bool is_service() noexcept {
  return detail::service_state::here() != nullptr;
}

std::stop_token stop_token() {
  return detail::service().stop.get_token();
}

void ready() {
  detail::service().say_ready();
}

void heartbeat() {
  detail::service().beat();
}

std::uint64_t incarnation() {
  return detail::service().role.run;
}

}  // namespace troupe::this_service
