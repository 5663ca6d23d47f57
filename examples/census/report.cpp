// SPDX-License-Identifier: BSD-3-Clause
#include "report.hpp"

#include "format.hpp"

#include <algorithm>
#include <cstddef>
#include <iomanip>
#include <ostream>

namespace census {
namespace {

void print_row(std::ostream& out, const std::string& name, const std::string& value) {
  out << "  " << std::left << std::setw(36) << name << std::right << std::setw(20) << value << '\n';
}

void print_time(std::ostream& out, const std::string& name, const outcome& what) {
  const double seconds = what.time.count();
  out << "  " << std::left << std::setw(22) << name << std::right << std::setw(9)
      << decimal(seconds, 3) << " s" << std::setw(12)
      << decimal(static_cast<double>(what.sums.files) / seconds, 0) << " files/s" << std::setw(12)
      << bytes_text(static_cast<double>(what.sums.bytes) / seconds) << "/s\n";
}

}  // namespace

void print_totals(std::ostream& out, const std::string& directory, const totals& sums) {
  out << "census of " << printable(directory) << '\n';
  print_row(out, "files", grouped(sums.files));
  print_row(out, "  of them binary", grouped(sums.binary_files));
  print_row(out, "directories", grouped(sums.directories));
  print_row(out, "bytes", grouped(sums.bytes));
  print_row(out, "lines", grouped(sums.lines));
  print_row(out, "words", grouped(sums.words));
  print_row(out, "hash (FNV-1a 64, mixed, summed)", hexadecimal(sums.hash));
  print_row(out, "different identifiers", grouped(sums.different_identifiers()));
  for (const auto& [name, count] : sums.top_identifiers(10)) {
    print_row(out, "  " + name, grouped(count));
  }
  out << "problems\n";
  bool any = false;
  for (std::size_t i = 0; i < problem_kinds; ++i) {
    const auto kind = static_cast<problem_kind>(i);
    const std::uint64_t count = sums.problems.count(kind);
    if (count == 0) {
      continue;
    }
    any = true;
    print_row(out, std::string{to_string(kind)}, grouped(count));
    for (const std::string& path : sums.problems.samples(kind)) {
      out << "    " << printable(path) << '\n';
    }
    if (count > sums.problems.samples(kind).size()) {
      out << "    ...\n";
    }
  }
  if (!any) {
    out << "  none\n";
  }
}

void print_chaos(std::ostream& out, const outcome& parallel) {
  constexpr std::size_t most_lines = 50;
  const std::size_t retried = parallel.retried.size();
  out << "chaos\n  " << parallel.kills << " workers killed and " << parallel.deaths
      << " deaths survived during " << parallel.passes
      << (parallel.passes == 1 ? " pass" : " passes") << " over the tree\n  " << retried
      << (retried == 1 ? " task was" : " tasks were") << " retried"
      << (retried == 0 ? ": the workers that died had none at hand\n" : ":\n");
  for (std::size_t i = 0; i < std::min(retried, most_lines); ++i) {
    out << "    " << printable(parallel.retried[i].path) << " (attempt "
        << parallel.retried[i].attempt << ")\n";
  }
  if (retried > most_lines) {
    out << "    and " << retried - most_lines << " more\n";
  }
}

void print_comparison(std::ostream& out, int workers, const outcome& parallel,
                      const outcome& serial) {
  out << "time" << (parallel.passes > 1 ? ", for parallel the mean of all passes" : "") << '\n';
  print_time(out, "parallel, " + std::to_string(workers) + (workers == 1 ? " worker" : " workers"),
             parallel);
  print_time(out, "serial", serial);
  out << "  serial / parallel = " << decimal(serial.time / parallel.time, 2) << "; starting the "
      << "workers took " << decimal(parallel.start_time.count(), 3) << " s more\n";
}

bool print_verdict(std::ostream& out, const outcome& parallel, const outcome& serial) {
  const std::vector<std::string> differences = parallel.sums.differences(serial.sums);
  if (differences.empty() && parallel.differences.empty()) {
    out << "parallel and serial agree\n";
    return true;
  }
  out << "parallel and serial DISAGREE (a tree that changes meanwhile does that, too)\n";
  for (const std::string& difference : differences) {
    out << "  " << difference << '\n';
  }
  for (const std::string& difference : parallel.differences) {
    out << "  between passes: " << difference << '\n';
  }
  return false;
}

}  // namespace census
