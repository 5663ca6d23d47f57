// SPDX-License-Identifier: BSD-3-Clause
// A program that does one thing, for what a process can show only once, or only without what the main
// of other tests has:
//
//     alone SENTENCE
//
// SENTENCE is one of the functions at the end; each of them returns what is wrong, or nothing.
#include "troupe/log.hpp"
#include "troupe/pool.hpp"
#include "troupe/process.hpp"
#include "troupe/semaphore.hpp"
#include "troupe/supervisor.hpp"
#include "troupe/system.hpp"
#include "troupe/thread_pool.hpp"

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>
#include <latch>
#include <mutex>
#include <ranges>
#include <string>
#include <string_view>

namespace {

using namespace std::chrono_literals;

struct arguments {
  int count;
  char** values;
};

/// What was logged while it lived.
class captured_log {
 public:
  captured_log() {
    troupe::set_log_hook([this](troupe::log_level level, std::string_view text) {
      if (level >= troupe::log_level::warning) {
        const std::lock_guard lock{mutex_};
        text_ += std::string{text} + '\n';
      }
    });
  }
  ~captured_log() { troupe::set_log_hook({}); }
  captured_log(const captured_log&) = delete;
  captured_log& operator=(const captured_log&) = delete;

  [[nodiscard]] bool has(std::string_view part) const {
    const std::lock_guard lock{mutex_};
    return text_.find(part) != std::string::npos;
  }

 private:
  mutable std::mutex mutex_;
  std::string text_;
};

int square(int x) {
  return x * x;
}

[[noreturn]] void wait_for_ever() {
  for (;;) {
    ::pause();
  }
}

std::string thread_pools_need_no_system(const arguments& /*main*/) {
  troupe::thread_pool threads{{.workers = 2}};
  const auto squares = threads.map(square, std::views::iota(0, 100));
  if (squares.size() != 100 || squares[9] != 81) {
    return "the map has other results";
  }
  return threads.apply_async(square, 5).then(square).get() == 625 ? "" : "then has another result";
}

std::string processes_need_a_system(const arguments& /*main*/) {
  troupe::process one{square, 1};
  try {
    one.start();
  } catch (const troupe::not_bootstrapped&) {
    return "";
  }
  return "it was started";
}

std::string processes_that_are_left_end_after_the_join_timeout(const arguments& main) {
  const captured_log log;
  troupe::process left;
  {
    const troupe::system system{main.count, main.values, {.join_timeout = 20ms}};
    left = troupe::process{{.name = "left over", .grace = 10s}, wait_for_ever};
    left.start();
  }
  if (left.exit_status() != troupe::exit_status{troupe::killed_by{SIGTERM}}) {
    return "it was not ended by SIGTERM";
  }
  return log.has("left over") && log.has("join_timeout") ? "" : "the log does not say which";
}

std::string with_few_descriptors_a_log_line_tells(const arguments& main) {
  const captured_log log;
  const troupe::system system{main.count, main.values};
  rlimit few{};
  ::getrlimit(RLIMIT_NOFILE, &few);
  few.rlim_cur = 80;
  ::setrlimit(RLIMIT_NOFILE, &few);
  troupe::pool workers{{.workers = 8}};
  if (workers.map(square, std::views::iota(0, 100)).size() != 100) {
    return "the map has other results";
  }
  workers.close();
  workers.join();  // waits for the log hook
  return log.has("descriptors are short") ? "" : "no line says so";
}

std::string the_system_lists_shared_objects(const arguments& main) {
  const troupe::system system{main.count, main.values};
  const auto listed = [&](std::uint64_t id) {
    const auto all = system.objects();
    const auto found = std::ranges::find(all, id, &troupe::object_info::id);
    return found != all.end() && found->kind == troupe::object_kind::semaphore &&
           found->name == "permits" && found->creator_pid == ::getpid();
  };
  std::uint64_t id = 0;
  {
    const troupe::semaphore one{3, {.name = "permits"}};
    id = one.id();
    if (!listed(id)) {
      return "it is not in the list";
    }
  }
  return listed(id) ? "it is in the list without a handle" : "";
}

/// Of a thread of this process: bit n - 1 stands for signal n.
std::uint64_t blocked_signals_of(const std::filesystem::path& thread) {
  std::ifstream status{thread / "status"};
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("SigBlk:")) {
      return std::stoull(line.substr(7), nullptr, 16);
    }
  }
  return ~std::uint64_t{0};  // it has ended
}

std::string the_threads_of_the_library_block_all_signals(const arguments& main) {
  const troupe::system system{main.count, main.values};
  troupe::pool workers{{.workers = 1}};
  troupe::thread_pool threads{{.workers = 2}};
  // Both kinds of pools have a thread of callbacks then, and the threads a timekeeper.
  std::latch called{2};
  const auto count = [&called](int) { called.count_down(); };
  workers.apply_async(square, 2).on_result(count);
  threads.with({.timeout = 1h}).apply_async(square, 2).on_result(count);
  called.wait();
  std::uint64_t all = 0;
  for (int signal = 1; signal < SIGSYS; ++signal) {
    if (signal != SIGKILL && signal != SIGSTOP) {
      all |= std::uint64_t{1} << (signal - 1);
    }
  }
  std::size_t others = 0;
  for (const auto& thread : std::filesystem::directory_iterator{"/proc/self/task"}) {
    if (thread.path().filename() == std::to_string(::getpid())) {
      continue;
    }
    ++others;
    if ((blocked_signals_of(thread.path()) & all) != all) {
      std::ifstream name{thread.path() / "comm"};
      return "not in " + std::string{std::istreambuf_iterator<char>{name}, {}};
    }
  }
  return others >= 6 ? "" : "there are fewer threads than this means to look at";
}

std::string the_system_tells_no_signal_before_one_came(const arguments& main) {
  troupe::system system{main.count, main.values};
  if (system.stop_signal() != 0 || system.stop_token().stop_requested()) {
    return "it tells one that never came";
  }
  system.stop_on_signals();
  return system.stop_signal() == 0 && !system.stop_token().stop_requested()
             ? ""
             : "stop_on_signals counts as one";
}

std::string supervisors_that_are_left_end_with_the_system(const arguments& main) {
  const captured_log log;
  troupe::supervisor tree;
  {
    troupe::system system{main.count, main.values};
    tree.add(troupe::child_process("waiter", wait_for_ever));
    tree.add(troupe::child_pool("pool", {.workers = 1}));
    tree.start();
  }
  if (tree.running() || tree.wait().how != troupe::supervisor_end::stopped) {
    return "it still runs";
  }
  for (const troupe::child_status& child : tree.children()) {
    if (child.last_death->cause != troupe::end_cause::shutdown) {
      return child.name + " was ended by something else";
    }
  }
  try {
    tree.start();
    return "it was started without a system";
  } catch (const troupe::not_bootstrapped&) {
    return "";
  }
}

struct sentence {
  std::string_view name;
  std::string (*check)(const arguments&);
};
constexpr std::array sentences{
    sentence{"ThreadPoolsNeedNoSystem", &thread_pools_need_no_system},
    sentence{"ProcessesNeedASystem", &processes_need_a_system},
    sentence{"ProcessesThatAreLeftEndAfterTheJoinTimeout",
             &processes_that_are_left_end_after_the_join_timeout},
    sentence{"WithFewDescriptorsALogLineTellsThatStderrIsNotCaptured",
             &with_few_descriptors_a_log_line_tells},
    sentence{"TheSystemListsSharedObjects", &the_system_lists_shared_objects},
    sentence{"TheSystemTellsNoSignalBeforeOneCame", &the_system_tells_no_signal_before_one_came},
    sentence{"TheThreadsOfTheLibraryBlockAllSignals",
             &the_threads_of_the_library_block_all_signals},
    sentence{"SupervisorsThatAreLeftEndWithTheSystem",
             &supervisors_that_are_left_end_with_the_system}};

}  // namespace

int main(int argc, char** argv) {
  const std::string_view asked = argc > 1 ? argv[1] : "";
  for (const sentence& one : sentences) {
    if (one.name == asked) {
      const std::string wrong = one.check({argc, argv});
      std::cout << (wrong.empty() ? "all is as promised" : wrong) << '\n';
      return wrong.empty() ? 0 : 1;
    }
  }
  std::cout << "no such sentence: " << asked << '\n';
  return 2;
}
