// SPDX-License-Identifier: BSD-3-Clause

// What became of a worker's tasks, on its way to the supervisor.

#include "troupe/codec.hpp"

#include "channel/attachment_limit.hpp"
#include "errors/cut_text.hpp"
#include "os/failpoint.hpp"
#include "os/shortage.hpp"
#include "pools/worker/output.hpp"
#include "pools/worker/worker.hpp"
#include "process/throw_trace.hpp"

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <utility>

namespace troupe::detail {

void shorten(failure& what) {
  what.causes.clear();
  what.frames.clear();
  cut_text(what.text, inline_limit / 4);
  cut_text(what.type_name, inline_limit / 4);
}

void worker::on_coroutine_end(const coroutine_end& how) {
  flush_output();
  TROUPE_FAILPOINT("worker.ran");
  const result_timing timing{how.nanoseconds, 1};
  std::exception_ptr thrown = how.thrown;
  if (!thrown) {
    try {
      check_result();
    } catch (...) {
      thrown = std::current_exception();
    }
  }
  if (how.cancelled) {
    failure what;  // the supervisor, which knows who asked, finds the words
    what.code = errc::cancelled;
    what.ran = task_ran::yes;
    what.stage = "run";
    sign(what);
    byte_buffer bytes;
    encode(bytes, what);
    send_inline(how.number, result_failed, timing, bytes.bytes());
  } else if (thrown) {
    send_failure(how.number, thrown, how.stage, timing);
  } else {
    send_result(how.number, timing);
  }
  unrung_ = true;
  TROUPE_FAILPOINT("worker.sent");
}

void worker::check_result() const {
  result_.check_limit();
  if (result_attachments_.size() > max_attachments_of_part) {
    throw too_many_attachments("troupe: the values of a result", task_ran::yes);
  }
}

void worker::send_failure(std::uint64_t number, const std::exception_ptr& thrown, task_stage stage,
                          const result_timing& timing) {
  failure what;
  auto frames = take_throw_trace();
  switch (stage) {
    case task_stage::decode_callable:
    case task_stage::decode_arguments:
      what = capture_failure(thrown);
      if (what.code != errc::resource_exhausted) {
        what = capture_failure(errc::argument_decode_failed, thrown);
      }
      what.ran = task_ran::no;
      what.stage = "decode";
      break;
    case task_stage::run:
      what = capture_failure(thrown);
      what.frames = std::move(frames);
      what.stage = "run";
      break;
    case task_stage::encode_result:
      what = capture_failure(thrown);
      if (what.code != errc::payload_too_large && what.code != errc::resource_exhausted) {
        what = capture_failure(errc::result_encode_failed, thrown);
      }
      what.ran = task_ran::yes;
      what.stage = "encode";
      break;
  }
  sign(what);
  byte_buffer bytes;  // not `result_`: its limit is the user's, and this is ours
  encode(bytes, what);
  if (bytes.size() > inline_limit) {
    if (send_large_failure(number, what, timing)) {
      return;
    }
    shorten(what);
    bytes.clear();
    encode(bytes, what);
  }
  send_inline(number, result_failed, timing, bytes.bytes());
}

bool worker::send_large_failure(std::uint64_t number, const failure& what,
                                const result_timing& timing) {
  try {
    payload_sink bytes{segments_, max_failure_bytes, "a failure"};
    encode(bytes, what);
    bytes.check_limit();
    segment_reference where{bytes.in_segment()->id(), bytes.size(), result_slots};
    const int code = send_segment(bytes.in_segment(), number, where);
    if (code == EPIPE) {
      orphaned_ = true;
      return true;
    }
    if (code != 0) {
      return false;
    }
    send_inline(number, result_failed | result_in_segment, timing,
                std::as_bytes(std::span{&where, 1}));
    return true;
  } catch (const error&) {
    return false;
  }
}

void worker::send_result(std::uint64_t number, const result_timing& timing) {
  std::uint16_t flags = 0;
  if (!result_attachments_.empty()) {
    flags = result_has_attachments;
    if (const int code = channel_.send_attachments(number, result_attachments_); code != 0) {
      refuse_result(number, timing, code);
      return;
    }
    result_attachments_.clear();  // the supervisor has it now
  }
  const auto& segment = result_.in_segment();
  if (!segment) {
    send_inline(number, flags, timing, result_.bytes());
    return;
  }
  segment_reference where{segment->id(), result_.size(), result_slots};
  if (const int code = send_segment(segment, number, where); code != 0) {
    refuse_result(number, timing, code);
    return;
  }
  send_inline(number, flags | result_in_segment, timing, std::as_bytes(std::span{&where, 1}));
  result_.clear();
}

int worker::send_segment(const std::shared_ptr<segment>& segment, std::uint64_t number,
                         segment_reference& where) {
  for (std::size_t slot = 0; slot < result_slots; ++slot) {
    std::atomic<std::uint8_t>& in_use = channel_.result_slot(slot);
    if (in_use.load(std::memory_order_acquire) == 0) {
      in_use.store(1);
      segment->in_use = &in_use;
      where.slot = slot;
      break;
    }
  }
  if (where.slot == result_slots) {
    static std::atomic<std::uint8_t> for_ever{1};
    segment->in_use = &for_ever;  // no word tells when it was read: it is not used again
  }
  const int code = channel_.send_segment(segment->id(), segment->reader(), number);
  if (code != 0) {
    segment->in_use = nullptr;
    if (where.slot < result_slots) {
      channel_.result_slot(where.slot).store(0);
    }
  }
  return code;
}

void worker::refuse_result(std::uint64_t number, const result_timing& timing, int code) {
  if (code == EPIPE) {
    orphaned_ = true;
    return;
  }
  send_failure(number,
               std::make_exception_ptr(
                   shortage("troupe: the result of a task could not be sent", code, task_ran::yes)),
               task_stage::encode_result, timing);
}

void worker::send_inline(std::uint64_t number, std::uint16_t flags, const result_timing& timing,
                         std::span<const std::byte> bytes) {
  std::span<const std::byte> head;
  if (timing.items > 0) {
    flags |= result_timed;
    head = std::as_bytes(std::span{&timing, 1});
  }
  push(frame_kind::result, flags, number, head, bytes);
}

}  // namespace troupe::detail
