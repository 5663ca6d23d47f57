// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <cstdint>

namespace troupe::detail {

/// What a supervised process, or what stands for it in this one, is told.
struct service_role {
  bool service = false;  ///< false: a plain function, which knows nothing of its supervisor
  std::uint64_t run = 1;
  std::int64_t program = 0;    ///< pid of the supervisor's process
  std::int64_t every_ms = -1;  ///< -1: once
  std::int64_t beat_ms = -1;   ///< beats are sent no faster; -1: there is no watchdog
  std::int64_t probe_ms = -1;  ///< between two probes; -1: there is none
  bool ready_at_start = false;

  template <class Archive>
  void serialize(Archive& ar) {
    ar(service, run, program, every_ms, beat_ms, probe_ms, ready_at_start);
  }
};

}  // namespace troupe::detail
