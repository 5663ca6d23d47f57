// SPDX-License-Identifier: BSD-3-Clause
#include "channel/crash_record.hpp"

#include "channel/crash_layout.hpp"

#include <algorithm>
#include <csignal>
#include <cstring>
#include <memory>
#include <string_view>

namespace troupe::detail {
namespace {

/// The text that begins at `at`; empty if there is none that ends within the record.
std::string_view text_at(const crash_layout& record, std::uint32_t at) {
  const std::size_t size = std::min<std::size_t>(record.text_bytes, record.texts.size());
  if (at >= size) {
    return {};
  }
  const std::string_view rest{record.texts.data() + at, size - at};
  const auto end = rest.find('\0');
  return end == std::string_view::npos ? std::string_view{} : rest.substr(0, end);
}

}  // namespace

std::optional<crash_report> read_crash_record(std::span<const std::byte> bytes) {
  if (bytes.size() < crash_record_bytes) {
    return std::nullopt;
  }
  // Copied first, because the worker's process can still write this memory.
  const auto copy = std::make_unique<crash_layout>();
  std::memcpy(static_cast<void*>(copy.get()), bytes.data(), sizeof *copy);
  const crash_layout& record = *copy;
  const std::uint32_t state = record.state.load(std::memory_order_relaxed);
  if ((state != crash_layout::writing && state != crash_layout::whole) || record.signal <= 0 ||
      record.signal >= NSIG) {
    return std::nullopt;
  }
  crash_report report;
  report.complete = state == crash_layout::whole;
  crash_details& details = report.details;
  details.signal = record.signal;
  details.code = record.code;
  if ((record.flags & crash_layout::has_address) != 0) {
    details.address = record.address;
  }
  details.stack_overflow = (record.flags & crash_layout::at_stack_end) != 0;
  const std::size_t count = std::min<std::size_t>(record.frame_count, record.frames.size());
  details.frames.reserve(count);
  for (std::size_t i = 0; i < count; ++i) {
    const crash_layout::frame& frame = record.frames[i];
    details.frames.push_back({std::string{text_at(record, frame.module)}, frame.offset,
                              std::string{text_at(record, frame.build_id)}});
  }
  return report;
}

}  // namespace troupe::detail
