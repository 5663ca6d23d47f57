// SPDX-License-Identifier: BSD-3-Clause
#include "pools/submission/process_submission.hpp"

#include "troupe/detail/pool_core.hpp"

#include "base/never_destroyed.hpp"
#include "channel/worker_protocol.hpp"
#include "os/library_thread.hpp"
#include "pools/submission/pool_face.hpp"

#include <cstring>

namespace troupe::detail {
namespace {

// At namespace scope: a process forked during the first use of a function's static object would
// wait for the end of its initialization.
constinit const never_destroyed<std::vector<std::shared_ptr<segment>>> no_segments;
constinit const never_destroyed<attachment_list> no_attachments;

}  // namespace

submission_group::~submission_group() = default;

bool submission_group::cuts(const process_submission& work, std::uint32_t item) const {
  // The submissions of a group are numbered in input order.
  return work.number > cut_submission_ || (work.number == cut_submission_ && item > cut_item_);
}

void submission_group::cut_after(std::uint64_t submission_number, std::uint32_t item) {
  if (submission_number < cut_submission_ ||
      (submission_number == cut_submission_ && item < cut_item_)) {
    cut_submission_ = submission_number;
    cut_item_ = item;
  }
  cancelled = true;
}

process_submission::process_submission(std::shared_ptr<pool_face> owner, const options_ptr& options,
                                       submission_builder&& encoded)
    : byte_count{static_cast<std::uint32_t>(encoded.sink_->size())},
      callable_bytes{static_cast<std::uint32_t>(encoded.callable_bytes_)},
      count{static_cast<std::uint32_t>(encoded.count_)},
      owner_{std::move(owner)},
      options_{options.get()},
      kept_options_{options == owner_->task_defaults() ? nullptr : options} {
  bytes = encoded.sink_->take_bytes();
  if (!encoded.segments_.empty()) {
    rare().segments = std::move(encoded.segments_);
  }
  set_attachments(std::move(encoded.attachments_));
  if (count != 1) {
    many_ = std::make_unique<outcome[]>(count);
  }
}
process_submission::~process_submission() {
  if (kept_options_ && kept_options_->retry_if && no_user_code::is_here()) {
    try {
      owner_->predicate_executor()([gone = std::move(kept_options_)] {});
    } catch (const error&) {  // NOLINT(bugprone-empty-catch): no thread: it is destroyed here
    }
  }
}

const std::vector<std::shared_ptr<segment>>& process_submission::segments() const {
  return rare_ ? rare_->segments : no_segments.value;
}

const attachment_list& process_submission::attachments() const {
  return rare_ ? rare_->attachments : no_attachments.value;
}
void process_submission::set_attachments(attachment_list what) {
  if (!what.empty()) {
    rare().attachments = std::move(what);
  }
}
const attachment_list& process_submission::result_attachments() const {
  return rare_ ? rare_->result_attachments : no_attachments.value;
}
void process_submission::add_result_attachments(attachment_list what) {
  auto& all = rare().result_attachments;
  all.insert(all.end(), std::make_move_iterator(what.begin()), std::make_move_iterator(what.end()));
}

void process_submission::each_value(
    const std::function<void(std::span<const std::byte>)>& visit) const {
  const attachment_source scope{result_attachments()};
  for (std::uint32_t item = 0; item < count; ++item) {
    visit(value(item));
  }
}

std::span<const std::byte> process_submission::value(std::uint32_t item) const {
  const outcome& o = outcomes()[item];
  if (o.kind == in_payload) {
    return rare_->payloads[o.where]->bytes();
  }
  return {reinterpret_cast<const std::byte*>(results_.data()) + o.where, o.size};
}

const failure* process_submission::item_failure(std::uint32_t item) const {
  const outcome& o = outcomes()[item];
  if (o.kind == cancelled_item) {
    return failed().get();
  }
  return o.kind == failed_item ? rare_->failures[o.where].get() : nullptr;
}

std::string process_submission::name() const {
  std::string text = "task #" + std::to_string(number);
  if (!options_->label.empty()) {
    text += " '" + options_->label + "'";
  }
  return text + " of " + owner_->title();
}

std::shared_ptr<const failure> process_submission::describe() const {
  auto why = std::make_shared<failure>();
  why->code = errc::cancelled;
  why->ran = task_ran::no;
  why->text = name() + " was cancelled before it began";
  why->task = number;
  return why;
}

void process_submission::store_value(std::uint32_t item, std::span<const std::byte> value) {
  outcomes()[item] = {in_bytes, static_cast<std::uint32_t>(value.size()), results_.size()};
  results_.append(reinterpret_cast<const char*>(value.data()), value.size());
  ++decided_;
  if (group) {
    ++group->succeeded_items;
  }
}

void process_submission::store_payload(std::uint32_t item,
                                       std::shared_ptr<const foreign_payload> value) {
  outcomes()[item] = {in_payload, 0, rare().payloads.size()};
  rare().payloads.push_back(std::move(value));
  ++decided_;
  if (group) {
    ++group->succeeded_items;
  }
}

void process_submission::note_lost_attempt(std::uint32_t item, attempt_end how) {
  rare().lost_attempts.emplace_back(item, std::move(how));
}

void process_submission::store_failure(std::uint32_t item, std::shared_ptr<const failure> why) {
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
    auto whole = std::make_shared<failure>(*why);  // copied: other items may share `why`
    whole->attempts.insert(whole->attempts.begin(), attempts.begin(), attempts.end());
    why = std::move(whole);
  }
  outcomes()[item] = {failed_item, 0, rare().failures.size()};
  rare().failures.push_back(std::move(why));
  ++decided_;
}

void process_submission::end_cancelled() {
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

bool process_submission::finish_if_complete() {
  if (decided_ != count || done()) {
    return false;
  }
  // The arguments are not needed any more, however long the future is kept.
  bytes.reset();
  std::shared_ptr<const failure> first;
  if (rare_) {
    rare_->segments.clear();
    rare_->attachments.clear();
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
    keep->submission_done(*this);
  }
  return true;
}

std::uint32_t process_submission::offset_of(std::uint32_t index) {
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
      std::memcpy(&length, bytes.get() + at, sizeof length);
      at += static_cast<std::uint32_t>(sizeof length) +
            (length == in_segment ? static_cast<std::uint32_t>(sizeof(segment_reference)) : length);
    }
    offsets.push_back(at);
  }
  return offsets[index];
}

bool process_submission::cancel(bool force) {
  return owner_->cancel(*this, force);
}
bool process_submission::running() const {
  return owner_->is_running(*this);
}
bool process_submission::spin_for_outcome() const {
  return owner_->spin_for_outcome(*this);
}
future_state::executor process_submission::callbacks() const {
  return owner_->callback_executor();
}

}  // namespace troupe::detail
