// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "trees/service/service_host.hpp"
#include "trees/service/service_role.hpp"

#include <sys/types.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <stop_token>

namespace troupe::detail {

/// One run of a service, as `this_service` sees it.
///
/// @threads any.
struct service_state {
  service_state(const service_role& as, std::shared_ptr<service_host> in);

  void say_ready();
  void beat();
  /// False: it is to stop.
  bool sleep(std::chrono::nanoseconds time);

  /// The one that the calling thread runs a part of, or else the one that this process is; null:
  /// neither.
  static service_state* here() noexcept;
  /// From now on this process is one. Once, before there are threads.
  static void become(service_state* self) noexcept;

  const service_role role;
  const std::shared_ptr<service_host> host;
  std::stop_source stop{};
  std::atomic<bool> ready{false};
  std::atomic<std::int64_t> next_beat_ns{0};
  const pid_t pid;  ///< children that it forks are no services
  /// Of a coroutine: where its thread notes whose code it runs.
  std::atomic<const service_state*>* running = nullptr;
};

/// While one lives, the calling thread runs a part of that service.
class as_service {
 public:
  explicit as_service(const service_state& self) noexcept;
  ~as_service();
  as_service(const as_service&) = delete;
  as_service& operator=(const as_service&) = delete;

 private:
  const service_state& self_;
  const service_state* before_;
};

}  // namespace troupe::detail
