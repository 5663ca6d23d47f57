// SPDX-License-Identifier: BSD-3-Clause
#include "pools/submission/nested_outcome.hpp"

#include "troupe/codec.hpp"
#include "troupe/detail/memory.hpp"

#include "channel/worker_protocol.hpp"
#include "os/descriptor_attachment.hpp"

#include <cstring>
#include <exception>
#include <memory>
#include <span>
#include <utility>

namespace troupe::detail {

outcome_message make_outcome(std::uint64_t ticket, const failure& why) {
  byte_buffer bytes;
  encode(bytes, why);
  outcome_message made;
  made.text = to_bytes(outcome_header{ticket, bytes.size(), outcome_failed, 0});
  made.text.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  return made;
}

outcome_message make_outcome(std::uint64_t ticket, const process_submission& finished) {
  outcome_header header;
  header.ticket = ticket;
  byte_buffer why;
  std::span<const std::byte> bytes;
  outcome_message made;
  if (const failure* const failed = finished.item_failure(0)) {
    encode(why, *failed);
    bytes = why.bytes();
    header.flags |= outcome_failed;
  } else {
    bytes = finished.value(0);
    made.descriptors = finished.result_attachments();
  }
  header.bytes = bytes.size();
  header.attachments = static_cast<std::uint32_t>(made.descriptors.size());
  if (bytes.size() > max_inline_outcome) {
    try {
      descriptor memory = create_memory("troupe-outcome", bytes.size());
      std::memcpy(map_memory(memory, 0, bytes.size()).data(), bytes.data(), bytes.size());
      made.descriptors.insert(made.descriptors.begin(),
                              std::make_shared<const descriptor_attachment>(0, std::move(memory)));
      header.flags |= outcome_in_memory;
      bytes = {};
    } catch (const error&) {
      made.descriptors.clear();
      why.clear();
      encode(why, capture_failure(std::current_exception()));
      header = {ticket, why.size(), outcome_failed, 0};
      bytes = why.bytes();
    }
  }
  made.text = to_bytes(header);
  for (std::size_t i = made.descriptors.size() - header.attachments; i < made.descriptors.size();
       ++i) {
    made.text += to_bytes(made.descriptors[i]->id());
  }
  made.text.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  return made;
}

}  // namespace troupe::detail
