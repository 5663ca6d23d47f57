// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

// A budget is a row of the table that tools/bench prints: what the library needs, what its peer
// needs in the same run, and what was promised.
namespace bench {

/// What a row's numbers are.
enum class unit : std::uint8_t { seconds, per_second, bytes_per_second, bytes, count };

/// What was promised.
struct budget {
  enum class kind : std::uint8_t { none, ratio_at_most, ratio_at_least, ours_at_most };
  kind how = kind::none;
  double limit = 0;
};
constexpr budget no_budget{};
constexpr budget ratio_at_most(double limit) {
  return {budget::kind::ratio_at_most, limit};
}
constexpr budget ratio_at_least(double limit) {
  return {budget::kind::ratio_at_least, limit};
}
constexpr budget ours_at_most(double limit) {
  return {budget::kind::ours_at_most, limit};
}

struct row {
  std::string name;
  unit is = unit::seconds;
  double ours = 0;
  std::optional<double> peer{};
  std::string peer_name{};
  budget promised{};
  std::string note{};
  /// The best tenth of the samples: what the medians would be if no other program used the machine.
  std::optional<double> best_ours{};
  std::optional<double> best_peer{};

  /// ours / peer; nothing without a peer.
  [[nodiscard]] std::optional<double> ratio() const;
  /// "ok", "SHORT", or why it is not judged.
  [[nodiscard]] std::string verdict() const;
};

/// What the rows need to know, and where they go.
class report {
 public:
  report(bool quick, std::function<void(const row&)> print)
      : quick_{quick}, print_{std::move(print)} {}
  void add(row finished) {
    print_(finished);
    rows_.push_back(std::move(finished));
  }
  /// `full`, or less of it for a quick run.
  [[nodiscard]] int rounds(int full) const {
    return quick_ ? (full < 12 ? (full + 2) / 3 : full / 4) : full;
  }
  [[nodiscard]] const std::vector<row>& rows() const { return rows_; }

 private:
  bool quick_;
  std::function<void(const row&)> print_;
  std::vector<row> rows_;
};

/// What `--only` selects; its rows' names begin with its name.
struct group {
  std::string_view name;
  void (*run)(report&);
};
void round_trip(report& to);
void throughput(report& to);
void adaptive_map(report& to);
void thread_pool(report& to);
void executor(report& to);
void payload(report& to);
void pending(report& to);
void kill_notice(report& to);
void fresh_pool(report& to);
void idle_memory(report& to);
void compile_time(report& to);
void headers(report& to);
void thousand_workers(report& to);
void queues(report& to);
void pipes(report& to);
void locks(report& to);
void start_and_join(report& to);
void growth(report& to);

using clock = std::chrono::steady_clock;
inline double seconds_since(clock::time_point begin) {
  return std::chrono::duration<double>(clock::now() - begin).count();
}
/// How long `work()` takes.
template <class Work>
double seconds_of(Work&& work) {
  const auto begin = clock::now();
  work();
  return seconds_since(begin);
}

/// The middle of what was measured; no sample must be missing.
double median(std::vector<double> samples);
/// A row of medians and best tenths. Without samples of the peer there is no peer.
row row_of(std::string name, unit is, const std::vector<double>& ours,
           const std::vector<double>& peer, std::string peer_name, budget promised,
           std::string note = {});
/// The sample that 99 of 100 stay below.
double percentile_99(std::vector<double> samples);
/// "12.3 us", "1.23 M/s", "4.10 GB/s", "2.5 MiB".
std::string format(double value, unit is);

}  // namespace bench
