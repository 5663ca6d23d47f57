// SPDX-License-Identifier: BSD-3-Clause
#include "supervision/child_table.hpp"

#include <algorithm>

namespace troupe::detail {
namespace {

bool is_alive(child_phase phase) noexcept {
  return phase == child_phase::starting || phase == child_phase::running ||
         phase == child_phase::stopping;
}

}  // namespace

child_record& child_table::add(child_spec spec, bool dynamic) {
  auto made = std::make_unique<child_record>();
  child_record& child = *made;
  child.id = ++last_id_;
  child.rank = ++last_rank_;
  child.spec = std::move(spec);
  child.dynamic = dynamic;
  if (dynamic && dynamic_++ == 0) {
    first_dynamic_ = child.rank;
  }
  by_id_.emplace(child.id, std::move(made));
  by_name_.emplace(child.spec.name, &child);
  by_rank_.emplace(child.rank, &child);
  enter(child);
  return child;
}

void child_table::remove(child_record& child) {
  set_due(child, std::nullopt);
  leave(child);
  by_rank_.erase(child.rank);
  by_name_.erase(child.spec.name);
  dynamic_ -= child.dynamic ? 1 : 0;
  by_id_.erase(child.id);
}

child_record* child_table::find(child_id id) {
  const auto found = by_id_.find(id);
  return found == by_id_.end() ? nullptr : found->second.get();
}

const child_record* child_table::find(child_id id) const {
  const auto found = by_id_.find(id);
  return found == by_id_.end() ? nullptr : found->second.get();
}

child_record* child_table::find(std::string_view name) {
  const auto found = by_name_.find(name);
  return found == by_name_.end() ? nullptr : found->second;
}

const child_record* child_table::find(std::string_view name) const {
  const auto found = by_name_.find(name);
  return found == by_name_.end() ? nullptr : found->second;
}

void child_table::set_phase(child_record& child, child_phase phase) {
  leave(child);
  child.phase = phase;
  enter(child);
}

void child_table::set_due(child_record& child, std::optional<steady_time> due) {
  if (child.due) {
    by_time_.erase({*child.due, child.id});
  }
  child.due = due == steady_time::max() ? std::nullopt : due;
  if (child.due) {
    by_time_.emplace(std::pair{*child.due, child.id}, &child);
  }
}

child_record* child_table::first_due() const {
  return by_time_.empty() ? nullptr : by_time_.begin()->second;
}

child_record* child_table::last_alive() const {
  return alive_.empty() ? nullptr : alive_.rbegin()->second;
}

child_record* child_table::first_waiting() const {
  return waiting_.empty() ? nullptr : waiting_.begin()->second;
}

std::vector<child_record*> child_table::from(std::uint64_t rank) const {
  std::vector<child_record*> found;
  for (auto it = by_rank_.lower_bound(rank); it != by_rank_.end(); ++it) {
    found.push_back(it->second);
  }
  return found;
}

std::vector<child_record*> child_table::dynamic_from(std::uint64_t rank) const {
  return dynamic_ == 0 ? std::vector<child_record*>{} : from(std::max(rank, first_dynamic_));
}

void child_table::enter(child_record& child) {
  ++version_;
  ++in_phase_[static_cast<std::size_t>(child.phase)];
  if (child.phase == child_phase::waiting) {
    waiting_.emplace(child.rank, &child);
  } else if (is_alive(child.phase)) {
    alive_.emplace(child.rank, &child);
  }
  significant_ += child.spec.significant && child.phase != child_phase::stopped ? 1 : 0;
}

void child_table::leave(child_record& child) {
  ++version_;
  --in_phase_[static_cast<std::size_t>(child.phase)];
  if (child.phase == child_phase::waiting) {
    waiting_.erase(child.rank);
  } else if (is_alive(child.phase)) {
    alive_.erase(child.rank);
  }
  significant_ -= child.spec.significant && child.phase != child_phase::stopped ? 1 : 0;
}

}  // namespace troupe::detail
