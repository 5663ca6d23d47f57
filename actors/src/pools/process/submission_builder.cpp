// SPDX-License-Identifier: BSD-3-Clause

// Encodes a submission, on the thread that submits it.

#include "base/thread_owned.hpp"
#include "channel/attachment_limit.hpp"
#include "pools/process/pool_core_impl.hpp"

#include <atomic>
#include <cstdint>
#include <exception>
#include <string>
#include <utility>

namespace troupe::detail {

namespace {
/// A thread's buffer, kept from one submission to the next, so that most allocate nothing.
struct spare_tag;
using spare_sink = thread_owned<std::unique_ptr<submission_sink>, spare_tag>;

std::unique_ptr<submission_sink> take_sink() {
  auto* const spare = spare_sink::get();
  return spare != nullptr && *spare ? std::move(*spare) : std::make_unique<submission_sink>();
}
std::atomic<std::uint64_t> next_filling{1};
}  // namespace

static_assert(submission_sink::part_in_segment == in_segment);

submission_builder::submission_builder(std::shared_ptr<segment_pool> segments,
                                       std::uint64_t max_part_bytes)
    : sink_{take_sink()} {
  sink_->begin(std::move(segments), max_part_bytes);
}
submission_builder::submission_builder(const engine_ptr& pool)
    : submission_builder{(check_not_moved_from(pool), core_of(pool).segments()),
                         core_of(pool).options().max_payload_bytes} {}
submission_builder::~submission_builder() {
  if (sink_ && sink_->capacity() <= 4 * max_frame_bytes) {
    sink_->begin(nullptr, 0);
    if (auto* const spare = spare_sink::get()) {
      *spare = std::move(sink_);
    }
  }
}
submission_builder::submission_builder(submission_builder&&) noexcept = default;

void submission_builder::part(encode_ref encode, const char* what) {
  const std::size_t attachments_before = attachments_.size();
  try {
    sink_->begin_part(what);
    {
      const attachment_collector scope{attachments_};
      encode(*sink_);
    }
    if (attachments_.size() - attachments_before > max_attachments_of_part) {
      throw too_many_attachments(std::string{"troupe: "} + what, task_ran::no);
    }
    std::size_t bytes = 0;
    if (auto segment = sink_->end_part(bytes)) {
      const segment_reference where{segment->id(), bytes, next_filling.fetch_add(1)};
      segments_.push_back(std::move(segment));
      sink_->append(&where, sizeof where);
    }
  } catch (const error&) {
    abandon_part(attachments_before);
    throw;
  } catch (const std::exception& problem) {
    abandon_part(attachments_before);
    std::throw_with_nested(
        error{errc::argument_encode_failed, task_ran::no,
              std::string{"troupe: "} + what + " could not be encoded: " + problem.what()});
  } catch (...) {
    abandon_part(attachments_before);
    std::throw_with_nested(error{errc::argument_encode_failed, task_ran::no,
                                 std::string{"troupe: "} + what + " could not be encoded"});
  }
}

void submission_builder::abandon_part(std::size_t attachments_before) noexcept {
  sink_->abandon_part();
  attachments_.resize(attachments_before);
}

std::size_t submission_builder::bytes() const noexcept {
  return sink_->size();
}

void submission_builder::callable(encode_ref encode) {
  part(encode, "the callable");
  callable_bytes_ = sink_->size();
}

void submission_builder::item(encode_ref encode) {
  part(encode, "the arguments");
  ++count_;
}

void submission_builder::same_callable(const submission_builder& other) {
  sink_->append(other.sink_->data(), other.callable_bytes_);
  callable_bytes_ = other.callable_bytes_;
  segments_ = other.segments_;
  attachments_ = other.attachments_;
}

}  // namespace troupe::detail
