// SPDX-License-Identifier: BSD-3-Clause

// How fast up to 64 MiB get into a task and out of it, beside memcpy between two buffers that are both
// in use already. A rate counts the payload's bytes once, and the whole time from the call to the
// value.
//
// The rows of buffer<T>: a task makes a buffer<double> and fills it, and this process adds its
// elements up. The peer is the same two functions, one after the other, on a std::vector<double> of
// this process that was there before: no fresh pages, no second process.

#include "troupe/buffer.hpp"
#include "troupe/pool.hpp"

#include "budgets.hpp"

#include <malloc.h>

#include <cstddef>
#include <cstring>
#include <span>
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
const std::string& kept_text(std::size_t bytes) {
  static std::string text;
  if (text.size() != bytes) {
    text.assign(bytes, 'r');
  }
  return text;
}
const std::vector<double>& kept_numbers(std::size_t count) {
  static std::vector<double> numbers;
  if (numbers.size() != count) {
    numbers.assign(count, 1.5);
  }
  return numbers;
}
/// Made by the task: what it costs to fill it is in the row.
std::string made_text() {
  return std::string(payload_bytes, 'm');
}

/// Writes every element; not by memset, which some machines do without reading the cache lines.
void fill(std::span<double> all) {
  double next = 1;
  for (double& one : all) {
    one = next;
    next += 1;
  }
}
/// Reads every element; four sums, so that no addition waits for the one before it.
double sum_of(std::span<const double> all) {
  double a = 0;
  double b = 0;
  double c = 0;
  double d = 0;
  for (std::size_t i = 0; i + 4 <= all.size(); i += 4) {
    a += all[i];
    b += all[i + 1];
    c += all[i + 2];
    d += all[i + 3];
  }
  return a + b + (c + d);
}
troupe::buffer<double> filled(std::size_t count) {
  troupe::buffer<double> made(count);
  fill(made);
  return made;
}
double sum_of_argument(const troupe::buffer<double>& all) {
  return sum_of(all);
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
rates measure(int rounds, std::size_t bytes, std::size_t copied_bytes, const Work& work) {
  static const std::string from(payload_bytes, 'a');
  static std::string to(payload_bytes, 'b');
  rates found;
  for (int round = -warm_up; round < rounds; ++round) {
    const double worked = seconds_of(work);
    const double copied = seconds_of([&] {
      std::memcpy(to.data(), from.data(), copied_bytes);
      asm volatile("" : : "g"(to.data()) : "memory");  // NOLINT(hicpp-no-assembler)
    });
    if (round >= 0) {
      found.ours.push_back(static_cast<double>(bytes) / worked);
      found.copies.push_back(static_cast<double>(copied_bytes) / copied);
    }
  }
  return found;
}

/// Rates of `ours` and of `peer`, in turns.
template <class Ours, class Peer>
rates compare(int rounds, std::size_t bytes, const Ours& ours, const Peer& peer) {
  rates found;
  for (int round = -warm_up; round < rounds; ++round) {
    const double first = seconds_of(ours);
    const double second = seconds_of(peer);
    if (round >= 0) {
      found.ours.push_back(static_cast<double>(bytes) / first);
      found.copies.push_back(static_cast<double>(bytes) / second);
    }
  }
  return found;
}

std::string with_size(const char* name, std::size_t mib) {
  return name + ("_" + std::to_string(mib));
}

/// What a buffer<double> of so many MiB costs as a result, and as an argument.
void buffers(report& to, troupe::pool& pool, std::size_t mib, budget promised) {
  const std::size_t bytes = mib << 20;
  const std::size_t count = bytes / sizeof(double);
  const int rounds = to.rounds(25);
  std::vector<double> here(count);
  const double right = static_cast<double>(count) * (static_cast<double>(count) + 1) / 2;
  const auto in_one_process = [&] {
    fill(here);
    check(sum_of(here) == right);
  };
  const auto add = [&](const char* name, std::string note, const auto& work) {
    const rates found = compare(rounds, bytes, work, in_one_process);
    to.add(row_of(with_size(name, mib), unit::bytes_per_second, found.ours, found.copies,
                  "one process", promised, std::move(note)));
  };
  add("payload.buffer_result", "a task makes and fills a buffer<double>, read here",
      [&] { check(sum_of(pool.apply(filled, count)) == right); });
  add("payload.buffer_argument", "made and filled here, read by a task",
      [&] { check(pool.apply(sum_of_argument, filled(count)) == right); });
}

}  // namespace

void payload(report& to) {
  const int rounds = to.rounds(25);
  troupe::pool pool{{.workers = 1}};
  const auto add = [&](std::string name, std::size_t bytes, std::size_t copied, budget promised,
                       std::string note, const auto& work) {
    const rates found = measure(rounds, bytes, copied, work);
    to.add(row_of(std::move(name), unit::bytes_per_second, found.ours, found.copies, "memcpy",
                  promised, std::move(note)));
  };
  for (const std::size_t mib : {std::size_t{1}, std::size_t{16}}) {
    const std::size_t bytes = mib << 20;
    buffers(to, pool, mib, no_budget);
    add(with_size("payload.result", mib), bytes, bytes, no_budget, "std::string there already",
        [&] { check(pool.apply(kept_text, bytes).size() == bytes); });
  }
  buffers(to, pool, 64, ratio_at_least(0.9));
  const std::string text(payload_bytes, 't');
  add("payload.argument", payload_bytes, payload_bytes, ratio_at_least(0.6),
      "64 MiB seen as string_view",
      [&] { check(pool.apply(length_of_view, text) == payload_bytes); });
  add("payload.argument_string", payload_bytes, payload_bytes, no_budget,
      "as const std::string&: one more copy",
      [&] { check(pool.apply(length_of_string, text) == payload_bytes); });
  add("payload.result", payload_bytes, payload_bytes, ratio_at_least(0.45),
      "64 MiB std::string there already",
      [&] { check(pool.apply(kept_text, payload_bytes).size() == payload_bytes); });
  add("payload.result_vector", payload_bytes, payload_bytes, ratio_at_least(0.45),
      "the same as std::vector<double>", [&] {
        check(pool.apply(kept_numbers, payload_bytes / sizeof(double)).size() ==
              payload_bytes / sizeof(double));
      });
  add("payload.result_made", payload_bytes, payload_bytes, no_budget, "the task fills it first",
      [&] { check(pool.apply(made_text).size() == payload_bytes); });
  add("payload.both_ways", 2 * payload_bytes, payload_bytes, no_budget,
      "string_view to std::string, 128 MiB",
      [&] { check(pool.apply(echo, text).size() == payload_bytes); });
  // By default glibc gives blocks of this size back to the kernel at once, so that every get()
  // faults in and clears fresh pages. This is what a program sees that tells it not to.
  keep_freed_memory(1 << 30);
  add("payload.result_warm_heap", payload_bytes, payload_bytes, no_budget,
      "mallopt keeps freed memory here",
      [&] { check(pool.apply(kept_text, payload_bytes).size() == payload_bytes); });
  keep_freed_memory(128 << 10);
  ::malloc_trim(0);
}

}  // namespace bench
