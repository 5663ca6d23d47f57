// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/policy.hpp"

#include <chrono>
#include <compare>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <utility>

namespace troupe::detail {

/// Owns the time limits of tasks, and says what is to be done when one is reached.
///
///   attempt   begins ──timeout──▶ ask_to_stop ──grace──▶ time_out
///   deadline  submitted ──deadline──▶ overdue ──grace──▶ give_up
///   cancel    forced ──grace──▶ give_up
///   retry     failed ──backoff──▶ try_again
///   idle      ──idle timeout──▶ let_idle_go
///
/// Finds a limit by its time and by its task: with n of them, setting, removing and reaching one
/// takes log n steps. Of a `Task` it copies and destroys only pointers to it.
///
/// @threads one at a time; the caller guards it.
template <class Task>
class limits {
 public:
  enum class step : std::uint8_t {
    ask_to_stop,
    time_out,
    overdue,
    give_up,
    try_again,
    let_idle_go
  };
  /// What is to be done now.
  struct due {
    step what = step::ask_to_stop;
    std::shared_ptr<Task> task{};  ///< none for `let_idle_go`
    std::uint32_t item = 0;        ///< of `ask_to_stop`, `time_out` and `try_again`
    std::uint32_t attempt = 0;     ///< of `ask_to_stop` and `time_out`
  };

  /// Limits an attempt that begins now. A timeout of more than ten years is no limit.
  void begin_attempt(std::shared_ptr<Task> task, std::uint32_t item, std::uint32_t attempt,
                     steady_time now, std::chrono::milliseconds timeout,
                     std::chrono::milliseconds grace) {
    const key which{task.get(), item, kind::attempt};
    set(which, later(now, timeout),
        {{step::ask_to_stop, std::move(task), item, attempt}, grace, {}});
  }
  /// Removes the limit of an attempt that is over, not that of another attempt at the item. Returns
  /// the pointer, which the caller destroys without its lock; null: there was no limit.
  std::shared_ptr<Task> end_attempt(const Task& task, std::uint32_t item, std::uint32_t attempt) {
    const auto found = entries_.find({&task, item, kind::attempt});
    if (found == entries_.end() || found->second.what.attempt != attempt) {
      return nullptr;
    }
    return remove(found);
  }
  void set_deadline(std::shared_ptr<Task> task, steady_time when, std::chrono::milliseconds grace) {
    const key which{task.get(), 0, kind::overdue};
    set(which, when, {{step::overdue, std::move(task)}, grace, {}});
  }
  /// Removes the task's deadline and the step that follows it. Returns as `end_attempt`.
  std::shared_ptr<Task> end_deadline(const Task& task) {
    const auto found = entries_.find({&task, 0, kind::overdue});
    return found == entries_.end() ? nullptr : remove(found);
  }
  /// The task was cancelled by force and is given up then; of several times the earliest counts.
  void give_up_at(std::shared_ptr<Task> task, steady_time when) {
    const key which{task.get(), 0, kind::cancel};
    const auto found = entries_.find(which);
    if (found == entries_.end() || when < found->second.when) {
      set(which, when, {{step::give_up, std::move(task)}, {}, {}});
    }
  }
  void try_again_at(std::shared_ptr<Task> task, std::uint32_t item, steady_time when) {
    const key which{task.get(), item, kind::retry};
    set(which, when, {{step::try_again, std::move(task), item}, {}, {}});
  }
  void let_idle_go_at(steady_time when) {
    set({nullptr, 0, kind::idle}, when, {{step::let_idle_go}, {}, {}});
  }

  /// Removes all limits of the task.
  void forget(const Task& task) {
    for (auto it = entries_.lower_bound({&task, 0, kind::attempt});
         it != entries_.end() && it->first.task == &task;) {
      remove(it++);
    }
  }

  /// When the next limit is due; none: there is none.
  [[nodiscard]] std::optional<steady_time> next() const {
    return order_.empty() ? std::nullopt : std::optional{order_.begin()->first.when};
  }
  /// The earliest limit that is due; none: no limit is. The step that follows it is set before this
  /// returns, so that the end of the task or of the attempt removes that, too.
  std::optional<due> take(steady_time now) {
    if (order_.empty() || order_.begin()->first.when > now) {
      return std::nullopt;
    }
    const auto found = order_.begin()->second;
    const due reached = found->second.what;
    if (reached.what == step::ask_to_stop || reached.what == step::overdue) {
      order_.erase(order_.begin());
      found->second.what.what = reached.what == step::overdue ? step::give_up : step::time_out;
      found->second.when = later(now, found->second.grace);
      put_in_order(found);
    } else {
      remove(found);
    }
    return reached;
  }
  [[nodiscard]] std::size_t size() const noexcept { return entries_.size(); }

 private:
  enum class kind : std::uint8_t { attempt, overdue, cancel, retry, idle };
  struct key {
    const Task* task = nullptr;
    std::uint32_t item = 0;
    kind of = kind::attempt;
    auto operator<=>(const key&) const = default;
  };
  struct place {
    steady_time when;
    std::uint64_t sequence;  ///< orders those with the same time by when they were set
    auto operator<=>(const place&) const = default;
  };
  struct entry {
    due what;
    std::chrono::milliseconds grace{};
    steady_time when{};
    std::uint64_t sequence = 0;
  };
  using entry_map = std::map<key, entry>;

  void set(const key& which, steady_time when, entry what) {
    if (const auto before = entries_.find(which); before != entries_.end()) {
      remove(before);
    }
    if (when == steady_time::max()) {
      return;
    }
    what.when = when;
    put_in_order(entries_.emplace(which, std::move(what)).first);
  }
  void put_in_order(typename entry_map::iterator which) {
    which->second.sequence = ++sequence_;
    order_.emplace(place{which->second.when, sequence_}, which);
  }
  std::shared_ptr<Task> remove(typename entry_map::iterator which) {
    std::shared_ptr<Task> kept = std::move(which->second.what.task);
    order_.erase({which->second.when, which->second.sequence});
    entries_.erase(which);
    return kept;
  }

  entry_map entries_;
  std::map<place, typename entry_map::iterator> order_;
  std::uint64_t sequence_ = 0;
};

}  // namespace troupe::detail
