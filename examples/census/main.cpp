// SPDX-License-Identifier: BSD-3-Clause
//
// census: counts every file below a directory with a pool of worker processes, one task per file,
// and shows that the sums are those of a serial run, also while workers are killed (--chaos).
//
// What to read in which file: tally.hpp is the task, this file is the use of the pool, tree.hpp the
// lazy input, chaos.hpp the killer. The rest is counting and printing.

#include "troupe/error.hpp"
#include "troupe/log.hpp"
#include "troupe/pool.hpp"
#include "troupe/system.hpp"

#include "chaos.hpp"
#include "options.hpp"
#include "progress.hpp"
#include "report.hpp"
#include "tally.hpp"
#include "totals.hpp"
#include "tree.hpp"

#include <chrono>
#include <cstddef>
#include <exception>
#include <filesystem>
#include <iostream>
#include <iterator>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

namespace {

using namespace census;
using namespace std::chrono_literals;
using steady_clock = std::chrono::steady_clock;

workload survey(const std::string& directory) {
  workload all;
  for (const std::string& path : tree{directory}) {
    ++all.files;
    std::error_code vanished;
    const std::uintmax_t bytes = std::filesystem::file_size(path, vanished);
    all.bytes += vanished ? 0 : bytes;
  }
  return all;
}

void add_tree(totals& sums, const tree& files) {
  sums.directories = files.directories();
  sums.problems.add(files.problems());
}

/// One pass over the tree by the workers: the files are found while results come in, and never more
/// of them are on their way than keep the workers busy.
totals count_parallel(troupe::pool& pool, const options& how, progress& shown,
                      std::vector<retried_task>& retried) {
  totals sums;
  tree files{how.directory};
  // With chaos, a file may be unlucky quite often before it is read to its end.
  auto tallies = pool.with({.retries = how.chaos ? 1000 : 2}).imap_unordered(count_file, files);
  for (auto it = tallies.begin(); it != tallies.end(); ++it) {
    try {
      const file_tally tally = *it;
      sums.add(tally);
      shown.file_done(tally.bytes);
      if (tally.attempt > 1) {
        retried.push_back({tally.path, tally.attempt});
      }
    } catch (const troupe::worker_lost& lost) {
      sums.problems.add(problem_kind::worker_lost, lost.what());
    }
  }
  add_tree(sums, files);
  return sums;
}

outcome run_parallel(const options& how, const workload& all) {
  outcome result;
  const auto before = steady_clock::now();
  troupe::pool pool{{.workers = how.workers,
                     .restart = {.intensity = how.chaos ? 1'000'000 : 100},
                     .name = "census"}};
  const auto begin = steady_clock::now();
  result.start_time = begin - before;
  {
    progress shown{all, &pool};
    std::optional<chaos> killer;
    if (how.chaos) {
      killer.emplace(pool, shown, how.seed);
    }
    do {
      shown.begin_pass(how.chaos ? "pass " + std::to_string(result.passes + 1) : "parallel");
      totals sums = count_parallel(pool, how, shown, result.retried);
      if (++result.passes > 1) {
        std::ranges::move(sums.differences(result.sums), std::back_inserter(result.differences));
      }
      result.sums = std::move(sums);
    } while (how.chaos && result.differences.empty() &&
             (steady_clock::now() - begin < 3s || pool.stats().deaths < 5));
    result.time = (steady_clock::now() - begin) / result.passes;
    result.kills = killer ? killer->kills() : 0;
    killer.reset();
  }
  result.deaths = pool.stats().deaths;
  pool.close();
  pool.join();
  return result;
}

outcome run_serial(const options& how, const workload& all) {
  outcome result;
  result.passes = 1;
  progress shown{all, nullptr};
  shown.begin_pass("serial");
  const auto begin = steady_clock::now();
  tree files{how.directory};
  for (const std::string& path : files) {
    const file_tally tally = count_file(path);
    result.sums.add(tally);
    shown.file_done(tally.bytes);
  }
  add_tree(result.sums, files);
  result.time = steady_clock::now() - begin;
  return result;
}

/// Reports of the library begin on a line of their own, not at the end of the progress line.
void report_neatly(const options& how) {
  troupe::set_log_hook([chaos = how.chaos](troupe::log_level level, std::string_view text) {
    // Deaths are what chaos is about, and they are counted.
    const auto least = chaos ? troupe::log_level::error : troupe::log_level::warning;
    if (level >= least) {
      say(text);
    }
  });
}

int run(const options& how) {
  report_neatly(how);
  if (how.chaos) {
    std::cerr << "chaos: a random worker is killed every 200 ms, seed " << how.seed << '\n';
  }
  const workload all = survey(how.directory);
  const outcome parallel = run_parallel(how, all);
  const outcome serial = run_serial(how, all);
  print_totals(std::cout, how.directory, parallel.sums);
  if (how.chaos) {
    print_chaos(std::cout, parallel);
  }
  print_comparison(std::cout, how.workers, parallel, serial);
  const bool agree = print_verdict(std::cout, parallel, serial);
  return agree && std::cout.flush() ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  troupe::system system{argc, argv};
  try {
    const options how = parse(std::span{argv, static_cast<std::size_t>(argc)}.subspan(1));
    if (how.help) {
      std::cout << help_text;
      return 0;
    }
    return run(how);
  } catch (const bad_usage& wrong) {
    std::cerr << "census: " << wrong.what() << '\n';
    return 2;
  } catch (const std::exception& failed) {
    std::cerr << "census: " << failed.what() << '\n';
    return 3;
  }
}
