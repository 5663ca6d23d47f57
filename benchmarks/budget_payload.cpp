// SPDX-License-Identifier: BSD-3-Clause

// How fast 64 MiB get into a task and out of it, beside memcpy between two buffers that are both in
// use already. A rate counts the payload's bytes once, and the whole time from the call to the
// value.

#include "troupe/pool.hpp"

#include "budgets.hpp"

#include <malloc.h>

#include <cstring>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace bench {
namespace {

constexpr std::size_t payload_bytes = std::size_t{64} << 20;
constexpr int warm_up = 3;

std::size_t length_of_view(std::string_view text) {
  return text.size();
}
std::size_t length_of_string(const std::string& text) {
  return text.size();
}
std::string echo(std::string_view text) {
  return std::string{text};
}

/// Already there when it is asked for, so that only its way is measured.
const std::string& kept_text() {
  static const std::string text(payload_bytes, 'r');
  return text;
}
/// Made by the task: what it costs to fill it is in the row.
std::string made_text() {
  return std::string(payload_bytes, 'm');
}

void check(bool right) {
  if (!right) {
    throw std::runtime_error{"a payload did not arrive whole"};
  }
}

/// From how many bytes on glibc takes memory from the kernel for each block, and gives it back.
void keep_freed_memory(int below_bytes) {
  // NOLINTBEGIN(concurrency-mt-unsafe): nothing else allocates meanwhile
  ::mallopt(M_MMAP_THRESHOLD, below_bytes);
  ::mallopt(M_TRIM_THRESHOLD, below_bytes);
  // NOLINTEND(concurrency-mt-unsafe)
}

struct rates {
  std::vector<double> ours;
  std::vector<double> copies;
};

/// Rates of some work and of memcpy, in turns. The buffers are the same for all rows:
/// whether the kernel gave them huge pages alone changes the rate.
template <class Work>
rates measure(int rounds, std::size_t bytes, const Work& work) {
  static const std::string from(payload_bytes, 'a');
  static std::string to(payload_bytes, 'b');
  rates found;
  for (int round = -warm_up; round < rounds; ++round) {
    const double worked = seconds_of(work);
    const double copied = seconds_of([&] {
      std::memcpy(to.data(), from.data(), payload_bytes);
      asm volatile("" : : "g"(to.data()) : "memory");  // NOLINT(hicpp-no-assembler)
    });
    if (round >= 0) {
      found.ours.push_back(static_cast<double>(bytes) / worked);
      found.copies.push_back(static_cast<double>(payload_bytes) / copied);
    }
  }
  return found;
}

}  // namespace

void payload(report& to) {
  const int rounds = to.rounds(25);
  troupe::pool pool{{.workers = 1}};
  const std::string text(payload_bytes, 't');
  const auto add = [&](const char* name, std::size_t bytes, budget promised, std::string note,
                       const auto& work) {
    const rates found = measure(rounds, bytes, work);
    to.add(row_of(name, unit::bytes_per_second, found.ours, found.copies, "memcpy", promised,
                  std::move(note)));
  };
  add("payload.argument", payload_bytes, ratio_at_least(0.6), "64 MiB seen as string_view",
      [&] { check(pool.apply(length_of_view, text) == payload_bytes); });
  add("payload.argument_string", payload_bytes, no_budget, "as const std::string&: one more copy",
      [&] { check(pool.apply(length_of_string, text) == payload_bytes); });
  add("payload.result", payload_bytes, ratio_at_least(0.6), "64 MiB std::string there already",
      [&] { check(pool.apply(kept_text).size() == payload_bytes); });
  add("payload.result_made", payload_bytes, no_budget, "the task fills it first",
      [&] { check(pool.apply(made_text).size() == payload_bytes); });
  add("payload.both_ways", 2 * payload_bytes, no_budget, "string_view to std::string, 128 MiB",
      [&] { check(pool.apply(echo, text).size() == payload_bytes); });
  // By default glibc gives blocks of this size back to the kernel at once, so that every get()
  // faults in and clears fresh pages. This is what a program sees that tells it not to.
  keep_freed_memory(1 << 30);
  add("payload.result_warm_heap", payload_bytes, no_budget, "mallopt keeps freed memory here",
      [&] { check(pool.apply(kept_text).size() == payload_bytes); });
  keep_freed_memory(128 << 10);
  ::malloc_trim(0);
}

}  // namespace bench
