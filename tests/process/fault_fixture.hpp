// SPDX-License-Identifier: BSD-3-Clause
// What the tests that break things share: a pool of four with bystanders in flight, and the proof
// that all is as before once the fault is over.
#pragma once

#include "troupe/log.hpp"

#include "os/failpoint.hpp"
#include "pool_fixture.hpp"
#include "support/processes.hpp"

#include <signal.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <fstream>
#include <optional>
#include <string_view>
#include <utility>

namespace troupe::test {

namespace failpoint = troupe::detail::failpoint;

// ---- for tasks ----------------------------------------------------------------------------------

/// Says by a byte that it is there, and waits until `count` of them are: so many workers at once.
inline std::int64_t meet(const std::string& place, int count) {
  mark(place);
  if (!eventually([&] { return marks(place) >= static_cast<std::size_t>(count); })) {
    throw std::runtime_error{"the others did not come"};
  }
  return ::getpid();
}

/// Appends a line in a single write.
inline void report(const std::string& path, std::int64_t number) {
  const std::string line = std::to_string(number) + '\n';
  const int file = ::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  if (file < 0 || ::write(file, line.data(), line.size()) != static_cast<ssize_t>(line.size())) {
    throw std::runtime_error{"cannot write " + path};
  }
  ::close(file);
}
/// Says which process it runs in, and stays there.
inline int report_and_stay(const std::string& path) {
  report(path, ::getpid());
  for (;;) {
    ::pause();
  }
}
[[nodiscard]] inline std::vector<int> reported(const std::string& path) {
  std::ifstream in{path};
  std::vector<int> found;
  for (int number = 0; in >> number;) {
    found.push_back(number);
  }
  return found;
}

[[nodiscard]] inline bool is_alive(int pid) {
  std::ifstream in{"/proc/" + std::to_string(pid) + "/stat"};
  std::string text;
  std::getline(in, text);
  const std::size_t close = text.rfind(')');
  return close != std::string::npos && close + 2 < text.size() && text[close + 2] != 'Z' &&
         text[close + 2] != 'X';
}

/// The fork servers that live now.
[[nodiscard]] inline std::vector<int> fork_servers() {
  std::vector<int> found;
  for (const process_entry& process : our_processes()) {
    if (process.name == "troupe-server" && process.state != 'Z') {
      found.push_back(process.pid);
    }
  }
  return found;
}

// ---- for tests ----------------------------------------------------------------------------------

/// The outcome of a future in one word.
enum class ended : std::uint8_t { value, lost, timeout, cancelled, closed, broken, failed };

template <class T>
[[nodiscard]] ended outcome_of(const future<T>& f) {
  try {
    f.get();
    return ended::value;
  } catch (const worker_lost&) {
    return ended::lost;
  } catch (const timeout_error&) {
    return ended::timeout;
  } catch (const cancelled_error&) {
    return ended::cancelled;
  } catch (const pool_closed&) {
    return ended::closed;
  } catch (const pool_broken&) {
    return ended::broken;
  } catch (const std::exception& problem) {
    ADD_FAILURE() << "ended with: " << problem.what();
    return ended::failed;
  }
}

/// Whether the task was lost with a worker that ended like this.
template <class T>
[[nodiscard]] testing::AssertionResult is_lost(const future<T>& f, const exit_status& how) {
  try {
    f.get();
  } catch (const worker_lost& loss) {
    if (loss.exit() == how) {
      return testing::AssertionSuccess();
    }
    return testing::AssertionFailure()
           << "lost otherwise than by " << to_string(how) << ": " << loss.what();
  } catch (const std::exception& problem) {
    return testing::AssertionFailure() << "not lost: " << problem.what();
  }
  return testing::AssertionFailure() << "has a value";
}

/// A pool of four that survives whatever a test does to it, and looks closely afterwards.
class fault_test : public every_start_method {
 protected:
  static constexpr int crew = 4;

  explicit fault_test(std::chrono::seconds limit = 60s) : every_start_method{limit} {
    failpoint::reset();
    // The deaths of these tests are no news.
    set_log_hook([](log_level /*level*/, std::string_view /*text*/) {});
  }
  ~fault_test() override {
    failpoint::reset();
    set_log_hook({});
  }

  [[nodiscard]] pool_options crew_of(int workers = crew) const {
    pool_options made;
    made.workers = workers;
    made.start = GetParam();
    made.grace = 500ms;
    made.restart.intensity = 1'000'000;
    return made;
  }

  /// A name for a file that no other call gave.
  [[nodiscard]] std::string fresh_file() { return file(std::to_string(++files_).c_str()); }

  /// As many as there are workers run at the same time, each in a worker of its own; nothing is
  /// queued, running, or dead beside them.
  void expect_whole(pool& p, int workers = crew) {
    ASSERT_TRUE(eventually([&] { return p.workers().size() == static_cast<std::size_t>(workers); }))
        << p.workers().size() << " workers";
    const std::string place = fresh_file();
    std::vector<future<std::int64_t>> smoke;
    for (int i = 0; i < workers; ++i) {
      smoke.push_back(p.apply_async(meet, place, workers));
    }
    std::set<std::int64_t> met;
    for (const auto& one : smoke) {
      met.insert(one.get());
    }
    EXPECT_EQ(met, pids_of(p)) << "not every worker ran its smoke task";
    const pool_stats stats = p.stats();
    EXPECT_EQ(stats.queued, 0U);
    EXPECT_EQ(stats.running, 0U);
    EXPECT_EQ(stats.succeeded + stats.failed + stats.cancelled, stats.submitted);
    EXPECT_TRUE(eventually([&] { return count_processes("troupe-w") == workers; }))
        << describe_our_processes();
    EXPECT_EQ(count_processes("", 'Z'), 0) << describe_our_processes();
  }

  [[nodiscard]] static int count_processes(std::string_view name, char state = 0) {
    const auto processes = our_processes();
    return static_cast<int>(std::ranges::count_if(processes, [&](const process_entry& process) {
      return process.name.starts_with(name) && (state == 0 || process.state == state);
    }));
  }

  /// Memory of large payloads is kept for the next ones: a second round may not need any more.
  template <class Body>
  void twice(const Body& body) {
    body();
    take_baseline();
    body();
  }

  /// Makes the next fork server part of what was there before: the old one was killed on purpose.
  void adopt_fork_server() {
    for (const int pid : fork_servers()) {
      ignore_process(pid);
    }
  }

  /// Twenty tasks in flight: three of them run from before the fault until it is over, so that one
  /// worker of four is left for the victim; the others are short and wait among them.
  class bystanders {
   public:
    bystanders(pool& p, std::string running, std::string gate) : gate_{std::move(gate)} {
      for (int i = 0; i < crew - 1; ++i) {
        long_.push_back(p.apply_async(wait_at, running, gate_));
      }
      EXPECT_TRUE(eventually([&] { return marks(running) == crew - 1; }));
      for (int i = 0; i < 17; ++i) {
        short_.push_back(p.apply_async(square, i));
      }
    }
    ~bystanders() { mark(gate_); }
    bystanders(const bystanders&) = delete;
    bystanders& operator=(const bystanders&) = delete;

    void expect_success() {
      mark(gate_);
      for (const auto& one : long_) {
        EXPECT_EQ(outcome_of(one), ended::value);
      }
      for (int i = 0; i < 17; ++i) {
        EXPECT_EQ(short_[static_cast<std::size_t>(i)].get(), i * i);
      }
    }

   private:
    std::string gate_;
    std::vector<future<int>> long_;
    std::vector<future<int>> short_;
  };

 private:
  int files_ = 0;
};

}  // namespace troupe::test
