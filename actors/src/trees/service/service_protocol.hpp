// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <cstddef>
#include <cstdint>

// What a supervised process and its supervisor say to each other: messages of a SOCK_SEQPACKET
// socket pair, one header each, with text behind it. docs/protocol.md lists them.
namespace troupe::detail {

enum class line_kind : std::uint32_t {
  ready = 1,     ///< it does its work
  beat,          ///< it is well
  threw,         ///< an exception has left its function, and text tells which: it is about to exit
  probe_begins,  ///< its probe is called
  probe_ends,    ///< and has returned
  probe_failed,  ///< and has thrown, text tells what
  stop           ///< to the service: it is to stop
};

struct line_header {
  line_kind kind{};
  std::uint32_t text_bytes = 0;
};
static_assert(sizeof(line_header) == 8);

inline constexpr std::size_t max_line_text = 4096;

}  // namespace troupe::detail
