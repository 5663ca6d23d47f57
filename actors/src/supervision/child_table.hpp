// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "supervision/messages.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

namespace troupe::detail {

inline constexpr std::size_t child_phases = 6;

/// What is to become of a child that is being stopped.
enum class after_stop : std::uint8_t {
  start,         ///< a new incarnation at once: the user restarts it
  wait,          ///< a new incarnation with its siblings: the strategy restarts it
  rest,          ///< stays stopped, by the user
  forget,        ///< removed by the user
  failed_start,  ///< it was killed because it was not ready in time
  shut_down      ///< its supervisor stops
};

/// What is known of a child.
struct child_record {
  child_id id = 0;
  std::uint64_t rank = 0;  ///< its place in the order of starts
  child_spec spec;
  bool dynamic = false;  ///< added while the supervisor ran
  child_phase phase = child_phase::waiting;
  incarnation run = 0;
  after_stop then = after_stop::rest;  ///< while it is stopping
  bool killed = false;                 ///< while it is stopping
  bool on_trial = false;               ///< if this start fails, the request for it does
  bool by_user = false;                ///< the user stopped it, so no strategy starts it
  steady_time ready_at{};              ///< while it is running
  std::optional<steady_time> due{};    ///< end of its start, stop or pause
  restart_row row{};
  std::optional<end_cause> last_end{};
  std::vector<request_id> requests{};       ///< to be answered when it is ready
  std::vector<request_id> stop_requests{};  ///< to be answered when it is stopped
};

/// The children of a supervisor, to be found by id, name, rank, phase and time.
///
/// Finding, adding, removing and changing a phase take log n steps; the counts take one.
///
/// @threads one at a time; the caller guards it.
class child_table {
 public:
  /// Adds a child behind all others. Its name is not in use.
  child_record& add(child_spec spec, bool dynamic);
  void remove(child_record& child);

  [[nodiscard]] child_record* find(child_id id);
  [[nodiscard]] child_record* find(std::string_view name);
  [[nodiscard]] const child_record* find(child_id id) const;
  [[nodiscard]] const child_record* find(std::string_view name) const;

  void set_phase(child_record& child, child_phase phase);
  void set_due(child_record& child, std::optional<steady_time> due);
  /// The child whose time comes first; null: none has one.
  [[nodiscard]] child_record* first_due() const;

  /// The last child of those that exist as processes, or threads; null: there is none.
  [[nodiscard]] child_record* last_alive() const;
  /// The first child that waits to be started; null: there is none.
  [[nodiscard]] child_record* first_waiting() const;
  /// All children with at least that rank, in order.
  [[nodiscard]] std::vector<child_record*> from(std::uint64_t rank) const;
  /// The dynamic ones of them. They stand behind all others.
  [[nodiscard]] std::vector<child_record*> dynamic_from(std::uint64_t rank) const;

  [[nodiscard]] std::size_t size() const noexcept { return by_id_.size(); }
  [[nodiscard]] std::size_t count(child_phase phase) const noexcept {
    return in_phase_[static_cast<std::size_t>(phase)];
  }
  [[nodiscard]] std::size_t dynamic_count() const noexcept { return dynamic_; }
  /// Significant children that have not ended for good.
  [[nodiscard]] std::size_t significant_left() const noexcept { return significant_; }
  /// Grows with every change.
  [[nodiscard]] std::uint64_t version() const noexcept { return version_; }

 private:
  void enter(child_record& child);
  void leave(child_record& child);

  std::unordered_map<child_id, std::unique_ptr<child_record>> by_id_;
  std::unordered_map<std::string_view, child_record*> by_name_;  // of the records' own strings
  std::map<std::uint64_t, child_record*> by_rank_;
  std::map<std::uint64_t, child_record*> alive_;    // starting, running, stopping
  std::map<std::uint64_t, child_record*> waiting_;  // by rank, too
  std::map<std::pair<steady_time, child_id>, child_record*> by_time_;
  std::array<std::size_t, child_phases> in_phase_{};
  std::size_t dynamic_ = 0;
  std::size_t significant_ = 0;
  std::uint64_t first_dynamic_ = 0;  // rank
  std::uint64_t last_rank_ = 0;
  child_id last_id_ = 0;
  std::uint64_t version_ = 0;
};

}  // namespace troupe::detail
