// SPDX-License-Identifier: BSD-3-Clause
#include "job.hpp"

#include "troupe/detail/never_destroyed.hpp"

#include "messages.hpp"
#include "pool_core_impl.hpp"

#include <cstring>

namespace troupe::detail {
namespace {

// Not inside of functions, where a process forked during the first use would wait for the end of
// it.
constinit const never_destroyed<std::vector<std::shared_ptr<segment>>> no_segments;
constinit const never_destroyed<cargo_list> no_cargo;

}  // namespace

job_group::~job_group() = default;

bool job_group::cuts(const job& work, std::uint32_t item) const {
  // The jobs of a group are numbered in input order.
  return work.number > cut_job_ || (work.number == cut_job_ && item > cut_item_);
}

void job_group::cut_after(std::uint64_t job_number, std::uint32_t item) {
  if (job_number < cut_job_ || (job_number == cut_job_ && item < cut_item_)) {
    cut_job_ = job_number;
    cut_item_ = item;
  }
  cancelled = true;
}

job::job(std::shared_ptr<pool_core> owner, const options_ptr& options,
         std::vector<std::shared_ptr<segment>> segments)
    : owner_{std::move(owner)},
      options_{options.get()},
      kept_options_{options == owner_->task_defaults() ? nullptr : options} {
  if (!segments.empty()) {
    rare().segments = std::move(segments);
  }
}
job::~job() = default;

const std::vector<std::shared_ptr<segment>>& job::segments() const {
  return rare_ ? rare_->segments : no_segments.value;
}

const cargo_list& job::cargo() const {
  return rare_ ? rare_->cargo : no_cargo.value;
}
void job::set_cargo(cargo_list what) {
  if (!what.empty()) {
    rare().cargo = std::move(what);
  }
}
const cargo_list& job::result_cargo() const {
  return rare_ ? rare_->result_cargo : no_cargo.value;
}
void job::add_result_cargo(cargo_list what) {
  auto& all = rare().result_cargo;
  all.insert(all.end(), std::make_move_iterator(what.begin()), std::make_move_iterator(what.end()));
}

void job::prepare() {
  if (count != 1) {
    many_ = std::make_unique<outcome[]>(count);
  }
}

void job::each_value(const std::function<void(std::span<const std::byte>)>& visit) const {
  const cargo_unloading scope{result_cargo()};
  for (std::uint32_t item = 0; item < count; ++item) {
    visit(value(item));
  }
}

std::span<const std::byte> job::value(std::uint32_t item) const {
  const outcome& o = outcomes()[item];
  if (o.kind == in_payload) {
    return rare_->payloads[o.where]->bytes();
  }
  return {reinterpret_cast<const std::byte*>(results_.data()) + o.where, o.size};
}

const failure* job::item_failure(std::uint32_t item) const {
  const outcome& o = outcomes()[item];
  if (o.kind == cancelled_item) {
    return failed().get();
  }
  return o.kind == failed_item ? rare_->failures[o.where].get() : nullptr;
}

std::string job::name() const {
  std::string text = "task #" + std::to_string(number);
  if (!options_->label.empty()) {
    text += " '" + options_->label + "'";
  }
  return text + " of " + owner_->title();
}

std::shared_ptr<const failure> job::describe() const {
  auto why = std::make_shared<failure>();
  why->code = errc::cancelled;
  why->ran = task_ran::no;
  why->text = name() + " was cancelled before it began";
  why->task = number;
  return why;
}

void job::store_value(std::uint32_t item, std::span<const std::byte> value) {
  outcomes()[item] = {in_bytes, static_cast<std::uint32_t>(value.size()), results_.size()};
  results_.append(reinterpret_cast<const char*>(value.data()), value.size());
  ++decided_;
  if (group) {
    ++group->succeeded_items;
  }
}

void job::store_payload(std::uint32_t item, std::shared_ptr<const foreign_payload> value) {
  outcomes()[item] = {in_payload, 0, rare().payloads.size()};
  rare().payloads.push_back(std::move(value));
  ++decided_;
  if (group) {
    ++group->succeeded_items;
  }
}

void job::note_lost_attempt(std::uint32_t item, attempt_end how) {
  rare().lost_attempts.emplace_back(item, std::move(how));
}

void job::store_failure(std::uint32_t item, std::shared_ptr<const failure> why) {
  if (group) {
    ++(why->code == errc::cancelled ? group->cancelled_items : group->failed_items);
  }
  std::vector<attempt_end> attempts;
  for (const auto& [index, lost] : rare().lost_attempts) {
    if (index == item) {
      attempts.push_back(lost);
    }
  }
  if (!attempts.empty()) {
    auto whole = std::make_shared<failure>(*why);  // `why` may be shared with other items
    whole->attempts.insert(whole->attempts.begin(), attempts.begin(), attempts.end());
    why = std::move(whole);
  }
  outcomes()[item] = {failed_item, 0, rare().failures.size()};
  rare().failures.push_back(std::move(why));
  ++decided_;
}

void job::end_cancelled() {
  if (count != 1 || group || (rare_ && !rare_->lost_attempts.empty())) {
    const auto why = describe();
    for (std::uint32_t item = 0; item < count; ++item) {
      if (!decided(item)) {
        store_failure(item, why);
      }
    }
  } else {
    single_.kind = cancelled_item;
    ++decided_;
  }
  finish_if_complete();
}

bool job::finish_if_complete() {
  if (decided_ != count || done()) {
    return false;
  }
  // What was sent is not needed any more, however long somebody keeps the future.
  std::string{}.swap(bytes);
  std::shared_ptr<const failure> first;
  if (rare_) {
    rare_->segments.clear();
    rare_->cargo.clear();
    rare_->offsets = {};
    rare_->lost_attempts = {};
    for (std::uint32_t item = 0; item < count && !rare_->failures.empty() && !first; ++item) {
      if (outcomes()[item].kind == failed_item) {
        first = rare_->failures[outcomes()[item].where];
      }
    }
  }
  const auto keep = std::move(group);
  if (!many_ && single_.kind == cancelled_item) {
    finish_undescribed();
  } else {
    finish(std::move(first));
  }
  if (keep) {
    keep->job_done(*this);
  }
  return true;
}

std::uint32_t job::offset_of(std::uint32_t index) {
  if (index == 0) {
    return callable_bytes;
  }
  auto& offsets = rare().offsets;
  if (offsets.empty()) {
    offsets.reserve(count + 1);
    std::uint32_t at = callable_bytes;
    for (std::uint32_t item = 0; item < count; ++item) {
      offsets.push_back(at);
      std::uint32_t length = 0;
      std::memcpy(&length, bytes.data() + at, sizeof length);
      at += static_cast<std::uint32_t>(sizeof length) +
            (length == in_segment ? static_cast<std::uint32_t>(sizeof(segment_reference)) : length);
    }
    offsets.push_back(at);
  }
  return offsets[index];
}

bool job::cancel(bool force) {
  return owner_->cancel(*this, force);
}
bool job::running() const {
  return owner_->is_running(*this);
}
bool job::hurry() const {
  return owner_->hurry(*this);
}
future_state::executor job::callbacks() const {
  return owner_->callback_executor();
}

std::uint64_t job_table::put(std::shared_ptr<job> submitted) {
  const std::lock_guard lock{mutex_};
  if (free_.empty()) {
    slots_.push_back(std::move(submitted));
    return slots_.size() - 1;
  }
  const std::uint64_t ticket = free_.back();
  free_.pop_back();
  slots_[ticket] = std::move(submitted);
  return ticket;
}

std::shared_ptr<job> job_table::take(std::uint64_t ticket) {
  const std::lock_guard lock{mutex_};
  free_.push_back(ticket);
  return std::exchange(slots_[ticket], nullptr);
}

std::vector<std::shared_ptr<job>> job_table::take_all() {
  std::vector<std::shared_ptr<job>> found;
  const std::lock_guard lock{mutex_};
  for (std::size_t ticket = 0; ticket < slots_.size(); ++ticket) {
    if (slots_[ticket]) {
      found.push_back(std::exchange(slots_[ticket], nullptr));
      free_.push_back(ticket);
    }
  }
  return found;
}

}  // namespace troupe::detail
