// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/detail/requirements.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace troupe {

// What is known of a process's end, as plain data: copies, compares, crosses. What is not known is
// absent. `worker_lost` has the accessors, `report` puts all of it in words.

/// Where an instruction is, in words that outlive its process.
struct code_location {
  std::string module;        ///< path of the program or library; empty: the address is in none
  std::uint64_t offset = 0;  ///< as in that file's symbol table; the bare address if in no module
  /// Which build of that file, since an upgrade may put another one in its place: its build id in
  /// hexadecimal, or "code:" and a hash where the linker made none; empty: not known.
  std::string build_id = {};
  /// Compares all members.
  bool operator==(const code_location&) const = default;
  /// How the codec writes and reads it.
  template <class Archive>
  void serialize(Archive& ar) {
    ar(module, offset, build_id);
  }
};

/// What a process noted down itself while a signal was ending it. A process that SIGKILL ends notes
/// nothing, and neither does one in which a task installed signal handlers of its own.
struct crash_details {
  std::int32_t signal = 0;               ///< the signal's number
  std::int32_t code = 0;                 ///< the system's si_code, see `describe_signal_code`
  std::optional<std::uint64_t> address;  ///< what could not be accessed or executed
  bool stack_overflow = false;           ///< the address is where the stack ends: most likely that
  std::vector<code_location> frames;     ///< innermost first, at most 64
  /// Compares all members.
  bool operator==(const crash_details&) const = default;
  /// How the codec writes and reads it.
  template <class Archive>
  void serialize(Archive& ar) {
    ar(signal, code, address, stack_overflow, frames);
  }
};

/// What a process and the children it had waited for took, by the kernel's count.
struct resource_usage {
  std::int64_t max_rss_kib = 0;  ///< peak of the resident memory, in KiB
  std::int64_t user_us = 0;      ///< CPU time in its own code, in microseconds
  std::int64_t system_us = 0;    ///< CPU time in the kernel, in microseconds
  /// Compares all members.
  bool operator==(const resource_usage&) const = default;
  /// How the codec writes and reads it.
  template <class Archive>
  void serialize(Archive& ar) {
    ar(max_rss_kib, user_us, system_us);
  }
};

/// Whether the kernel's OOM killer ended a worker.
enum class oom_kill : std::uint8_t {
  unknown,  ///< it may have; the kernel's counters do not tell
  no,       ///< it did not
  yes  ///< SIGKILL ended it, not this program's, and an OOM kill was counted in its control group
};

/// Tells the codec which numbers are enumerators.
[[nodiscard]] constexpr bool is_valid(oom_kill verdict) noexcept {
  return verdict <= oom_kill::yes;
}
/// The enumerator's name.
[[nodiscard]] std::string_view to_string(oom_kill verdict) noexcept;

/// What is known of a worker's end beyond its exit code or signal.
struct death_details {
  std::optional<crash_details> crash;          ///< absent: it did not crash, or could not note it
  std::optional<resource_usage> usage;         ///< absent: not known
  oom_kill out_of_memory = oom_kill::unknown;  ///< whether the OOM killer ended it
  std::string stderr_tail;  ///< the last lines, at most 20 and 8 KiB, as they were written
  /// Compares all members.
  bool operator==(const death_details&) const = default;
  /// How the codec writes and reads it.
  template <class Archive>
  void serialize(Archive& ar) {
    ar(crash, usage, out_of_memory, stderr_tail);
  }
};

/// One attempt at a task that ended with its worker.
struct attempt_end {
  std::uint32_t attempt = 0;    ///< 1 for the first
  std::int64_t pid = 0;         ///< of the worker
  std::uint8_t exit_kind = 0;   ///< 0 unknown, 1 exited, 2 killed by a signal
  std::int32_t exit_value = 0;  ///< exit code or signal number
  std::string reason;           ///< "SIGSEGV (signal 11), SEGV_MAPERR: address not mapped, at 0x0"
  /// Compares all members.
  bool operator==(const attempt_end&) const = default;
  /// How the codec writes and reads it.
  template <class Archive>
  void serialize(Archive& ar) {
    ar(attempt, pid, exit_kind, exit_value, reason);
  }
};

/// The name of a signal: "SIGSEGV"; "signal 250" for a number without a name.
[[nodiscard]] std::string signal_name(int signal);

/// What a si_code means: "SEGV_MAPERR: address not mapped"; "si_code 99" for one without a name.
[[nodiscard]] std::string describe_signal_code(int signal, int code);

/// The limit that a process is over when the kernel sends it that signal: "RLIMIT_CPU: CPU time";
/// empty for other signals.
[[nodiscard]] std::string limit_of_signal(int signal);

}  // namespace troupe
