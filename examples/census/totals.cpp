// SPDX-License-Identifier: BSD-3-Clause
#include "totals.hpp"

#include <algorithm>
#include <stdexcept>

namespace census {
namespace {

/// The finalizer of splitmix64: without it, sums of similar hashes would be similar, and with xor
/// instead of a sum two equal files would cancel each other.
std::uint64_t mix(std::uint64_t x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
  x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
  return x ^ (x >> 31);
}

}  // namespace

void totals::add(const file_tally& tally) {
  if (tally.problem != problem_kind::none) {
    problems.add(tally.problem, tally.path);
    return;
  }
  ++files;
  binary_files += tally.binary ? 1 : 0;
  bytes += tally.bytes;
  lines += tally.lines;
  words += tally.words;
  hash += mix(tally.hash);
  std::string_view names = tally.identifiers;
  for (const std::uint32_t count : tally.identifier_counts) {
    const std::size_t end = names.find('\n');
    if (end == std::string_view::npos) {
      throw std::logic_error{"census: a tally has more counts than identifiers"};
    }
    const std::string_view name = names.substr(0, end);
    const auto known = identifiers_.find(name);
    if (known != identifiers_.end()) {
      known->second += count;
    } else {
      identifiers_.emplace(name, count);
    }
    names.remove_prefix(end + 1);
  }
}

std::vector<std::pair<std::string, std::uint64_t>> totals::top_identifiers(
    std::size_t count) const {
  std::vector<std::pair<std::string, std::uint64_t>> top(std::min(count, identifiers_.size()));
  std::partial_sort_copy(identifiers_.begin(), identifiers_.end(), top.begin(), top.end(),
                         [](const auto& a, const auto& b) {
                           return a.second != b.second ? a.second > b.second : a.first < b.first;
                         });
  return top;
}

std::vector<std::string> totals::differences(const totals& other) const {
  std::vector<std::string> found;
  const auto compare = [&](const std::string& what, std::uint64_t mine, std::uint64_t others) {
    if (mine != others) {
      found.push_back(what + ": " + std::to_string(mine) + " and " + std::to_string(others));
    }
  };
  compare("files", files, other.files);
  compare("binary files", binary_files, other.binary_files);
  compare("directories", directories, other.directories);
  compare("bytes", bytes, other.bytes);
  compare("lines", lines, other.lines);
  compare("words", words, other.words);
  compare("hash", hash, other.hash);
  for (std::size_t i = 0; i < problem_kinds; ++i) {
    const auto kind = static_cast<problem_kind>(i);
    compare(std::string{to_string(kind)}, problems.count(kind), other.problems.count(kind));
  }
  compare("different identifiers", identifiers_.size(), other.identifiers_.size());
  if (found.empty() && identifiers_ != other.identifiers_) {
    found.emplace_back("how often identifiers occur");
  }
  return found;
}

}  // namespace census
