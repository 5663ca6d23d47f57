// SPDX-License-Identifier: BSD-3-Clause

// What processes cost: starting a pool, a worker that waits, a thousand of them; and the compiler.

#include "troupe/pool.hpp"
#include "troupe/this_process.hpp"

#include "budgets.hpp"
#include "plain_child.hpp"

#include <sys/resource.h>

#include <algorithm>
#include <cstdint>
#include <fstream>
#include <ranges>
#include <set>
#include <sstream>
#include <stdexcept>
#include <string>
#include <thread>

namespace bench {
namespace {

constexpr double mebibyte = 1024.0 * 1024.0;

void nothing() {}
int same(int x) {
  return x;
}
std::string large(std::size_t bytes) {
  return std::string(bytes, 'l');
}
std::int64_t who_am_i(int) {
  std::this_thread::sleep_for(std::chrono::milliseconds{2});
  return troupe::this_process::pid();
}

/// The number behind `key` in a file of /proc, in KiB or plain; 0 if it is not there.
double proc_number(const std::string& path, std::string_view key) {
  std::ifstream in{path};
  std::string line;
  while (std::getline(in, line)) {
    if (line.starts_with(key)) {
      return std::stod(line.substr(key.size()));
    }
  }
  return 0;
}

/// Largest private memory of the pool's workers. For a forked process that is what it has written
/// to itself: pages it still shares with the fork server do not count.
double private_bytes(const troupe::pool& pool) {
  double most = 0;
  for (const auto& worker : pool.workers()) {
    const std::string path = "/proc/" + std::to_string(worker.pid) + "/smaps_rollup";
    most =
        std::max(most, proc_number(path, "Private_Clean:") + proc_number(path, "Private_Dirty:"));
  }
  return most * 1024;
}

double threads_here() {
  return proc_number("/proc/self/status", "Threads:");
}

/// What CMake wrote about how a user's file is compiled: the compiler with its flags, and the file.
struct compile_command {
  std::string compiler;
  std::string file;
};
compile_command read_compile_command() {
  std::ifstream in{TROUPE_BENCH_COMPILE};
  compile_command found;
  std::getline(in, found.compiler);
  std::getline(in, found.file);
  return found;
}

double cpu_seconds_of_children() {
  rusage used{};
  ::getrusage(RUSAGE_CHILDREN, &used);
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
  };
  return seconds(used.ru_utime) + seconds(used.ru_stime);
}

}  // namespace

void fresh_pool(report& to) {
  constexpr int workers = 8;
  python_peer python;
  std::vector<double> ours;
  std::vector<double> made;
  std::vector<double> peer;
  for (int round = -1; round < to.rounds(20); ++round) {
    const auto begin = clock::now();
    troupe::pool pool{{.workers = workers}};
    const double there = seconds_since(begin);
    pool.apply(nothing);
    const double served = seconds_since(begin);
    pool.close();
    pool.join();
    if (round >= 0) {
      made.push_back(there);
      ours.push_back(served);
      if (python.there()) {
        peer.push_back(python.seconds("fresh_pool", workers));
      }
    }
  }
  to.add(row_of("fresh_pool.first_result", unit::seconds, ours, peer,
                python.there() ? "fork Pool(8)" : "python3", ratio_at_most(0.5),
                "8 workers; pool made after " + format(median(made), unit::seconds)));
}

void idle_memory(report& to) {
  troupe::pool pool{{.workers = 2}};
  to.add({"idle_memory.fresh",
          unit::bytes,
          private_bytes(pool),
          std::nullopt,
          {},
          ours_at_most(4 * mebibyte),
          "Private_* of a worker that waits"});
  pool.map(same, std::views::iota(0, 200'000));
  to.add({"idle_memory.after_tasks",
          unit::bytes,
          private_bytes(pool),
          std::nullopt,
          {},
          ours_at_most(4 * mebibyte),
          "after 200,000 small tasks"});
  for (int i = 0; i < 4; ++i) {
    pool.apply(large, std::size_t{64} << 20);
  }
  to.add({"idle_memory.after_64_mib",
          unit::bytes,
          private_bytes(pool),
          std::nullopt,
          {},
          no_budget,
          "after results of 64 MiB"});
}

void compile_time(report& to) {
  const compile_command how = read_compile_command();
  const auto measured = [&](const std::string& flags) {
    const std::string command = how.compiler + ' ' + flags + ' ' + how.file;
    const int rounds = to.rounds(3);
    std::vector<double> taken;
    taken.reserve(static_cast<std::size_t>(rounds));
    for (int round = 0; round < rounds; ++round) {
      taken.push_back(seconds_of([&] {
        if (run_quietly(command) != 0) {
          throw std::runtime_error{"the compiler refused: " + command};
        }
      }));
    }
    return median(taken);
  };
  to.add({"compile_time.pool_hpp",
          unit::seconds,
          measured("-O2 -c -o /dev/null"),
          std::nullopt,
          {},
          ours_at_most(3),
          "pool.hpp and one map, -O2"});
  to.add({"compile_time.no_optimizing",
          unit::seconds,
          measured("-O0 -c -o /dev/null"),
          std::nullopt,
          {},
          no_budget,
          "-O0"});
  to.add({"compile_time.syntax_only",
          unit::seconds,
          measured("-fsyntax-only"),
          std::nullopt,
          {},
          no_budget,
          "-fsyntax-only"});
}

void headers(report& to) {
  // Beside <functional>, which most of them need anyway; in turns, as the machine's speed changes.
  // The CPU time of the compiler alone, so that other programs do not count.
  const compile_command how = read_compile_command();
  const auto parsed = [&](const std::string& header) {
    const double before = cpu_seconds_of_children();
    const std::string command =
        "printf '#include <%s>\\n' '" + header + "' | " + how.compiler + " -fsyntax-only -x c++ -";
    if (run_quietly(command) != 0) {
      throw std::runtime_error{"the compiler refused: " + command};
    }
    return cpu_seconds_of_children() - before;
  };
  struct limit {
    const char* name;
    double most;
  };
  for (const limit each :
       {limit{"thread_pool", 5}, limit{"future", 3}, limit{"mutex", 2.5}, limit{"pool", 6.7}}) {
    std::vector<double> ours;
    std::vector<double> peer;
    for (int round = 0; round < to.rounds(10); ++round) {
      ours.push_back(parsed("troupe/" + std::string{each.name} + ".hpp"));
      peer.push_back(parsed("functional"));
    }
    to.add(row_of("headers." + std::string{each.name}, unit::seconds, ours, peer, "<functional>",
                  ratio_at_most(each.most), "CPU time of -fsyntax-only"));
  }
}

void thousand_workers(report& to) {
  constexpr int workers = 1000;
  const double threads_before = threads_here();
  const auto begin = clock::now();
  troupe::pool pool{{.workers = workers}};
  const double started = seconds_since(begin);
  const double threads_with = threads_here();
  std::vector<std::int64_t> pids;
  const double served = seconds_of(
      [&] { pids = pool.map(who_am_i, std::views::iota(0, 5 * workers), {.chunk = 1}); });
  const std::size_t distinct = std::set<std::int64_t>(pids.begin(), pids.end()).size();
  const double stopped = seconds_of([&] {
    pool.close();
    pool.join();
  });
  std::ostringstream threads;
  threads << "threads here " << threads_before << " before, " << threads_with << " with";
  to.add({"thousand_workers.start",
          unit::seconds,
          started,
          std::nullopt,
          {},
          no_budget,
          threads.str()});
  to.add({"thousand_workers.serve",
          unit::seconds,
          served,
          std::nullopt,
          {},
          no_budget,
          "5,000 tasks of 2 ms, by " + std::to_string(distinct) + " workers"});
  to.add({"thousand_workers.stop",
          unit::seconds,
          stopped,
          std::nullopt,
          {},
          no_budget,
          "close and join"});
}

}  // namespace bench
