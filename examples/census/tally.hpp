// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "problem.hpp"

#include <cstdint>
#include <string>
#include <vector>

namespace census {

/// What one task finds out about one file. It crosses from the worker to the parent, so it says
/// with `serialize` what it is made of.
struct file_tally {
  std::string path;
  std::uint32_t attempt = 0;  ///< more than 1: a worker died over this file, and it ran again
  problem_kind problem = problem_kind::none;  ///< then the counts are zero
  bool binary = false;                        ///< has a NUL byte: then no identifiers
  std::uint64_t bytes = 0;
  std::uint64_t lines = 0;  ///< newlines
  std::uint64_t words = 0;  ///< runs of anything but white space
  std::uint64_t hash = 0;   ///< FNV-1a 64 of the content
  /// All identifiers of the file, each followed by a newline, and how often each is there: two
  /// strings of bytes instead of a map, so that the parent receives them with two copies.
  std::string identifiers;
  std::vector<std::uint32_t> identifier_counts;

  template <class Archive>
  void serialize(Archive& ar) {
    ar(path, attempt, problem, binary, bytes, lines, words, hash, identifiers, identifier_counts);
  }
};

/// The task. An identifier is a run of letters, digits and underscores that does not begin with a
/// digit; one of more than 255 bytes is data, not an identifier.
///
/// Reads in blocks, so a file may be larger than memory; reads no more than the file held when it
/// was opened, so a log that grows all the time ends. Never throws for what a file is like.
file_tally count_file(const std::string& path);

}  // namespace census
