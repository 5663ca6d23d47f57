// SPDX-License-Identifier: BSD-3-Clause

// Prints one row per budget: what troupe needs, what its peer needs in the same run, and what was
// promised. tools/bench builds and runs it.

#include "budgets.hpp"

#include "troupe/system.hpp"
#include "troupe/this_process.hpp"

#include <algorithm>
#include <array>
#include <cstdio>
#include <fstream>
#include <string>
#include <string_view>
#include <vector>

namespace bench {

std::optional<double> row::ratio() const {
  return peer && *peer > 0 ? std::optional{ours / *peer} : std::nullopt;
}

std::string row::verdict() const {
  const auto said = [](bool kept) { return std::string{kept ? "ok" : "SHORT"}; };
  const auto found = ratio();
  switch (promised.how) {
    case budget::kind::none:
      return "-";
    case budget::kind::ours_at_most:
      return said(ours <= promised.limit);
    case budget::kind::ratio_at_most:
      return found ? said(*found <= promised.limit) : "no " + peer_name;
    case budget::kind::ratio_at_least:
      return found ? said(*found >= promised.limit) : "no " + peer_name;
  }
  return "-";
}

double median(std::vector<double> samples) {
  std::sort(samples.begin(), samples.end());
  const std::size_t half = samples.size() / 2;
  return samples.size() % 2 == 1 ? samples[half] : (samples[half - 1] + samples[half]) / 2;
}

row row_of(std::string name, unit is, const std::vector<double>& ours,
           const std::vector<double>& peer, std::string peer_name, budget promised,
           std::string note) {
  const bool more_is_better = is == unit::per_second || is == unit::bytes_per_second;
  const auto best = [more_is_better](std::vector<double> samples) {
    std::sort(samples.begin(), samples.end());
    const std::size_t tenth = samples.size() / 10;
    return more_is_better ? samples[samples.size() - 1 - tenth] : samples[tenth];
  };
  row made{std::move(name), is, median(ours), {}, std::move(peer_name), promised, std::move(note)};
  made.best_ours = best(ours);
  if (!peer.empty()) {
    made.peer = median(peer);
    made.best_peer = best(peer);
  }
  return made;
}

double percentile_99(std::vector<double> samples) {
  std::sort(samples.begin(), samples.end());
  return samples[std::min(samples.size() - 1, samples.size() * 99 / 100)];
}

namespace {

struct scale {
  double least;
  const char* suffix;
};

template <std::size_t N>
std::string scaled(double value, const std::array<scale, N>& scales) {
  const auto found = std::find_if(scales.begin(), scales.end() - 1,
                                  [value](const scale& s) { return value >= s.least; });
  std::array<char, 48> text{};
  const double shown = value / found->least;
  std::snprintf(text.data(), text.size(), "%.*f %s", shown < 10 ? 2 : (shown < 100 ? 1 : 0), shown,
                found->suffix);
  return text.data();
}

std::string limit_text(const row& r) {
  std::array<char, 48> text{};
  switch (r.promised.how) {
    case budget::kind::none:
      return "";
    case budget::kind::ours_at_most:
      return "<= " + format(r.promised.limit, r.is);
    case budget::kind::ratio_at_most:
      std::snprintf(text.data(), text.size(), "<= %gx", r.promised.limit);
      return text.data();
    case budget::kind::ratio_at_least:
      std::snprintf(text.data(), text.size(), ">= %gx", r.promised.limit);
      return text.data();
  }
  return "";
}

void print_line(std::string_view name, std::string_view ours, std::string_view peer,
                std::string_view ratio, std::string_view promised, std::string_view verdict,
                std::string_view note) {
  std::printf("%-34.*s %11.*s %11.*s %8.*s %11.*s  %-10.*s %.*s\n", static_cast<int>(name.size()),
              name.data(), static_cast<int>(ours.size()), ours.data(),
              static_cast<int>(peer.size()), peer.data(), static_cast<int>(ratio.size()),
              ratio.data(), static_cast<int>(promised.size()), promised.data(),
              static_cast<int>(verdict.size()), verdict.data(), static_cast<int>(note.size()),
              note.data());
  std::fflush(stdout);
}

void print_row(const row& r) {
  std::string ratio;
  if (const auto value = r.ratio()) {
    std::array<char, 32> text{};
    std::snprintf(text.data(), text.size(), *value < 10 ? "%.2fx" : "%.1fx", *value);
    ratio = text.data();
  }
  std::string note = r.peer_name.empty() ? r.note : "vs " + r.peer_name;
  if (!r.peer_name.empty() && !r.note.empty()) {
    note += "; " + r.note;
  }
  if (r.best_ours && r.best_peer) {
    std::array<char, 32> text{};
    std::snprintf(text.data(), text.size(), " = %.2fx", *r.best_ours / *r.best_peer);
    note += "; best tenth " + format(*r.best_ours, r.is) + text.data();
  }
  print_line(r.name, format(r.ours, r.is), r.peer ? format(*r.peer, r.is) : "-", ratio,
             limit_text(r), r.verdict(), note);
}

std::string quoted(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      out += '\\';
    }
    out += c;
  }
  return out + '"';
}

std::string number(const std::optional<double>& value) {
  if (!value) {
    return "null";
  }
  std::array<char, 40> text{};
  std::snprintf(text.data(), text.size(), "%.9g", *value);
  return text.data();
}

const char* unit_name(unit is) {
  switch (is) {
    case unit::seconds:
      return "seconds";
    case unit::per_second:
      return "per_second";
    case unit::bytes_per_second:
      return "bytes_per_second";
    case unit::bytes:
      return "bytes";
    case unit::count:
      return "count";
  }
  return "";
}

bool write_json(const std::string& path, const std::vector<row>& rows) {
  std::ofstream out{path};
  out << "{\n  \"cpus\": " << troupe::usable_cpus() << ",\n  \"rows\": [";
  const char* separator = "\n";
  for (const row& r : rows) {
    out << separator << "    {\"name\": " << quoted(r.name) << ", \"unit\": \"" << unit_name(r.is)
        << "\", \"ours\": " << number(r.ours) << ", \"peer\": " << number(r.peer)
        << ", \"peer_name\": " << quoted(r.peer_name) << ", \"ratio\": " << number(r.ratio())
        << ", \"best_ours\": " << number(r.best_ours) << ", \"best_peer\": " << number(r.best_peer)
        << ", \"budget\": " << quoted(limit_text(r)) << ", \"verdict\": " << quoted(r.verdict())
        << ", \"note\": " << quoted(r.note) << "}";
    separator = ",\n";
  }
  out << "\n  ]\n}\n";
  return out.flush().good();
}

constexpr std::array groups{
    group{"round_trip", round_trip},
    group{"throughput", throughput},
    group{"adaptive_map", adaptive_map},
    group{"thread_pool", thread_pool},
    group{"executor", executor},
    group{"payload", payload},
    group{"pending", pending},
    group{"kill", kill_notice},
    group{"fresh_pool", fresh_pool},
    group{"idle_memory", idle_memory},
    group{"compile_time", compile_time},
    group{"headers", headers},
    group{"thousand_workers", thousand_workers},
    group{"queue", queues},
    group{"pipe", pipes},
    group{"sync", locks},
    group{"process", start_and_join},
    group{"growth", growth},
};

constexpr const char* help =
    "troupe_budgets [--json FILE] [--only NAME]... [--quick]\n"
    "\n"
    "Prints one row per budget: name, ours, peer, ratio, budget, ok or SHORT.\n"
    "\n"
    "  --json FILE  writes the same for machines\n"
    "  --only NAME  only the rows of this group; may be given several times\n"
    "  --quick      fewer rounds\n"
    "  --help       this text\n"
    "\n"
    "Groups:";

struct settings {
  std::string json;
  std::vector<std::string> only;
  bool quick = false;
};

/// The exit code, if it is time to leave.
std::optional<int> parse(int argc, char** argv, settings& into) {
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    const bool has_value = i + 1 < argc;
    if (argument == "--json" && has_value) {
      into.json = argv[++i];
    } else if (argument == "--only" && has_value) {
      into.only.emplace_back(argv[++i]);
    } else if (argument == "--quick") {
      into.quick = true;
    } else {
      const bool asked = argument == "--help" || argument == "-h";
      std::FILE* const out = asked ? stdout : stderr;
      if (!asked) {
        std::fprintf(out, "unknown argument, or a value is missing: %s\n\n", argv[i]);
      }
      std::fputs(help, out);
      for (const group& one : groups) {
        std::fprintf(out, " %.*s", static_cast<int>(one.name.size()), one.name.data());
      }
      std::fputs("\n", out);
      return asked ? 0 : 2;
    }
  }
  for (const std::string& name : into.only) {
    if (std::none_of(groups.begin(), groups.end(),
                     [&](const group& one) { return one.name == name; })) {
      std::fprintf(stderr, "no group is called %s: see --help\n", name.c_str());
      return 2;
    }
  }
  return std::nullopt;
}

int run(const settings& how) {
  print_line("name", "ours", "peer", "ratio", "budget", "verdict", "");
  report to{how.quick, print_row};
  for (const group& one : groups) {
    if (how.only.empty() ||
        std::find(how.only.begin(), how.only.end(), one.name) != how.only.end()) {
      one.run(to);
    }
  }
  const auto short_rows = std::count_if(to.rows().begin(), to.rows().end(),
                                        [](const row& r) { return r.verdict() == "SHORT"; });
  // Above the number of CPUs by more than what ran here: others were busy, so look at ratios only.
  double load = 0;
  std::ifstream{"/proc/loadavg"} >> load;
  std::printf("%zu rows, %td SHORT, %d usable CPUs, load %.1f\n", to.rows().size(), short_rows,
              troupe::usable_cpus(), load);
  if (!how.json.empty() && !write_json(how.json, to.rows())) {
    std::fprintf(stderr, "cannot write %s\n", how.json.c_str());
    return 1;
  }
  return 0;
}

}  // namespace

std::string format(double value, unit is) {
  switch (is) {
    case unit::seconds:
      return scaled(value,
                    std::array<scale, 4>{{{1, "s"}, {1e-3, "ms"}, {1e-6, "us"}, {1e-9, "ns"}}});
    case unit::per_second:
      return scaled(value, std::array<scale, 3>{{{1e6, "M/s"}, {1e3, "k/s"}, {1, "/s"}}});
    case unit::bytes_per_second:
      return scaled(value, std::array<scale, 2>{{{1e9, "GB/s"}, {1e6, "MB/s"}}});
    case unit::bytes:
      return scaled(value, std::array<scale, 2>{{{1048576.0, "MiB"}, {1024.0, "KiB"}}});
    case unit::count:
      return scaled(value, std::array<scale, 1>{{{1, ""}}});
  }
  return {};
}

}  // namespace bench

int main(int argc, char** argv) {
  const troupe::system system{argc, argv};
  bench::settings how;
  if (const auto code = bench::parse(argc, argv, how)) {
    return *code;
  }
  return bench::run(how);
}
