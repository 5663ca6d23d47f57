// SPDX-License-Identifier: BSD-3-Clause
// A program that uses the library where little of a program is left, or not all of it is there yet:
//
//     late_user PLACE [METHOD]
//
// PLACE is one of the functions at the end. It prints what it found, a line each, and late_use_test
// compares that.
#include "troupe/connection.hpp"
#include "troupe/executor.hpp"
#include "troupe/listener.hpp"
#include "troupe/log.hpp"
#include "troupe/pool.hpp"
#include "troupe/process.hpp"
#include "troupe/queue.hpp"
#include "troupe/system.hpp"
#include "troupe/thread_pool.hpp"
#include "troupe/wait.hpp"

#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <latch>
#include <map>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#if defined(__SANITIZE_ADDRESS__)
// What thread-local variables of threads noted to be destroyed has no owner in a forked child, where
// these threads are not.
extern "C" const char* __lsan_default_suppressions();  // NOLINT(bugprone-reserved-identifier)
extern "C" const char* __lsan_default_suppressions() {
  return "leak:__cxa_thread_atexit_impl\n";
}
#endif

namespace {

void say(const std::string& what) {
  std::printf("%s\n", what.c_str());
  std::fflush(stdout);
}

int add(int a, int b) {
  return a + b;
}

/// Whether the kernel has put this thread of the process to sleep.
bool sleeps(int thread) {
  std::ifstream in{"/proc/self/task/" + std::to_string(thread) + "/stat"};
  std::string text{std::istreambuf_iterator<char>{in}, {}};
  const auto name_ends = text.rfind(')');
  return name_ends != std::string::npos && text.substr(name_ends + 2, 1) == "S";
}

/// 7, once the thread that waits for it is asleep: a thread that does not wait gets another value.
int seven_for(int thread) {
  while (!sleeps(thread)) {
    std::this_thread::yield();
  }
  return 7;
}

/// What comes of waiting for a few tasks here.
template <class Pool>
std::string use(Pool& threads) {
  try {
    for (int i = 0; i < 5; ++i) {
      if (const int found = threads.apply_async(seven_for, ::gettid()).get(); found != 7) {
        return "a wrong value";
      }
    }
    for (const int found : threads.map(seven_for, std::vector<int>(5, ::gettid()))) {
      if (found != 7) {
        return "a wrong value in a map";
      }
    }
    std::vector<troupe::future<int>> some{threads.apply_async(seven_for, ::gettid()),
                                          threads.apply_async(seven_for, ::gettid())};
    if (troupe::wait(some).done.size() != 2) {
      return "a wait that ended early";
    }
    for (const auto& one : troupe::as_completed(some)) {
      if (one.get() != 7) {
        return "a wrong value of two";
      }
    }
    return "right";
  } catch (const troupe::error& refused) {
    return "refused: " + std::string{troupe::to_string(refused.code())};
  }
}

template <class Pool>
std::string use_processes(Pool& processes) {
  try {
    for (int i = 0; i < 5; ++i) {
      if (processes.apply(add, i, 1) != i + 1) {
        return "a wrong value";
      }
    }
    return "right";
  } catch (const troupe::error& refused) {
    return "refused: " + std::string{troupe::to_string(refused.code())};
  }
}

/// Bytes in files that were opened here, with the lowest numbers that are free.
class strangers_files {
 public:
  strangers_files() {
    for (int& file : files_) {
      file = ::memfd_create("a stranger's", MFD_CLOEXEC);
    }
  }
  [[nodiscard]] std::string bytes() const {
    std::size_t all = 0;
    for (const int file : files_) {
      struct stat found{};
      all += ::fstat(file, &found) == 0 ? static_cast<std::size_t>(found.st_size) : 1000;
    }
    return std::to_string(all) + " bytes";
  }

 private:
  std::array<int, 16> files_{};
};

// ---- a global system ----------------------------------------------------------------------------

const std::string global_system = [] {
  try {
    std::string name{"late_user"};
    std::array<char*, 2> arguments{name.data(), nullptr};
    const troupe::system early{1, arguments.data()};
    return std::string{"a global system was made"};
  } catch (const troupe::not_bootstrapped& refused) {
    return "refused: " + std::string{refused.what()};
  }
}();

void a_global_system(int, char**) {
  say(global_system);
}

// ---- without a system: thread pools and objects -------------------------------------------------

std::optional<troupe::thread_pool> global_pool;
std::optional<troupe::queue<std::string>> global_queue;

void exit_handler(int, char**) {
  global_pool.emplace(troupe::thread_pool_options{.workers = 1});
  say(use(*global_pool));
  std::atexit([] {
    const strangers_files files;
    say(use(*global_pool));
    say(files.bytes());
  });
}

void static_destructor(int, char**) {
  struct user {
    ~user() {
      const strangers_files files;
      say(use(*global_pool));
      say(files.bytes());
    }
  };
  global_pool.emplace(troupe::thread_pool_options{.workers = 1});
  static const user last;
  say(use(*global_pool));
}

/// A thread that touches it first destroys it last, after what the library made.
struct late_thread_local {
  std::function<void()> use;
  void touch() { use = nullptr; }
  ~late_thread_local() {
    if (use) {
      use();
    }
  }
};
thread_local late_thread_local late;

void thread_local_destructor(int, char**) {
  global_pool.emplace(troupe::thread_pool_options{.workers = 1});
  std::thread{[] {
    late.touch();
    say(use(*global_pool));
    late.use = [] {
      const strangers_files files;
      say(use(*global_pool));
      say(files.bytes());
    };
  }}.join();
}

void queue_in_exit_handler(int, char**) {
  global_queue.emplace(8U);
  const auto pass = [] {
    global_queue->put(std::string(2000, 'x'));
    say(std::to_string(global_queue->get().size()));
  };
  pass();
  late.use = pass;
  std::atexit([] {
    global_queue->put(std::string(3000, 'y'));
    say(std::to_string(global_queue->get().size()));
  });
}

/// A connection whose ends prove their key, which OpenSSL does: it shuts itself down in an exit
/// handler.
void connection_with_a_key(int, char**) {
  static const auto talk = [] {
    try {
      troupe::listener door{"127.0.0.1:0", {.key = "a secret"}};
      std::atomic<bool> refused{false};
      std::thread client{[&] {
        try {
          troupe::connect(door.address(), {.key = "a secret"}).send(std::string{"hello"});
        } catch (const troupe::error&) {
          refused = true;
        }
      }};
      std::string heard = "refused";
      while (!refused) {
        if (auto one = door.accept_for(std::chrono::milliseconds{1})) {
          heard = one->recv<std::string>();
          break;
        }
      }
      client.join();
      say(heard);
    } catch (const troupe::error& problem) {
      say(problem.what());
    }
  };
  struct user {
    ~user() { talk(); }
  };
  static const user last;
  talk();
  std::atexit([] { talk(); });
}

void static_thread_executor(int, char**) {
  static troupe::thread_pool_executor threads{{.workers = 2}};
  static auto* const begun = new std::latch{1};
  const int main_thread = ::gettid();
  static_cast<void>(threads.submit([main_thread] {
    begun->wait();
    static_cast<void>(seven_for(main_thread));  // main is in the executor's destructor
    say("the task has ended");
  }));
  std::atexit([] { begun->count_down(); });
}

// ---- with a system -----------------------------------------------------------------------------

troupe::start_method method = troupe::start_method::forkserver;

troupe::pool_options two_workers() {
  return {.workers = 2, .start = method};
}

troupe::process_pool_executor* left_over = nullptr;

void submission_after_the_system(int argc, char** argv) {
  const troupe::system system{argc, argv};
  left_over = new troupe::process_pool_executor{two_workers()};
  say(std::to_string(left_over->submit(add, 1, 2).get()));
  std::atexit([] {
    try {
      say(std::to_string(left_over->submit(add, 1, 2).get()));
    } catch (const troupe::error& refused) {
      say("refused: " + std::string{troupe::to_string(refused.code())});
    }
  });
}

void callback_after_the_system(int argc, char** argv) {
  troupe::future<int> kept;
  {
    const troupe::system system{argc, argv};
    troupe::pool pool{two_workers()};
    kept = pool.apply_async(add, 1, 2);
    kept.wait();
  }
  const auto refused = [](const auto& add_callback) {
    try {
      add_callback();
      say("accepted");
    } catch (const troupe::error& e) {
      say("refused: " + std::string{troupe::to_string(e.code())});
    }
  };
  refused([&] { kept.on_result([](int) {}); });
  refused([&] { kept.on_done([](const troupe::future<int>&) {}); });
  refused([&] { static_cast<void>(kept.then([](int value) { return value; })); });
  say(std::to_string(kept.get()));
}

void pool_that_outlives_the_system(int argc, char** argv) {
  static std::optional<troupe::pool> pool;
  static std::optional<troupe::process_pool_executor> executor;
  static troupe::future<int> kept;
  struct user {
    ~user() {
      say(use_processes(*pool));
      say(std::to_string(kept.get()));
    }
  };
  static const user last;
  const troupe::system system{argc, argv};
  pool.emplace(two_workers());
  executor.emplace(two_workers());
  kept = executor->submit(add, 1, 2);
  kept.wait();
  say(use_processes(*pool));
}

/// Pools in every kind of static storage, used until the very end.
void static_system(int argc, char** argv) {
  static const troupe::system system{argc, argv};
  static std::unique_ptr<troupe::pool> owned;
  static troupe::pool pool{two_workers()};
  static troupe::process_pool_executor executor{two_workers()};
  struct user {
    ~user() {
      say("static destructor: " + use_processes(pool));
      say("executor: " + std::to_string(executor.submit(add, 3, 4).get()));
    }
  };
  static const user last;
  owned = std::make_unique<troupe::pool>(two_workers());
  say(use_processes(pool));
  late.use = [] { say("thread_local: " + use_processes(pool)); };
  std::atexit([] { say("exit handler: " + use_processes(pool)); });
}

/// As above, with exit in the middle.
void static_system_and_exit(int argc, char** argv) {
  static const troupe::system system{argc, argv};
  troupe::pool pool{two_workers()};
  const auto slow = pool.apply_async(add, 1, 2);
  say(std::to_string(slow.get()));
  std::exit(0);  // NOLINT(concurrency-mt-unsafe): that is the point
}

void exit_in_callback(int argc, char** argv) {
  static const troupe::system system{argc, argv};
  static troupe::pool pool{two_workers()};
  pool.apply_async(add, 1, 2).on_result([](int sum) {
    say(std::to_string(sum));
    std::exit(0);  // NOLINT(concurrency-mt-unsafe): that is the point
  });
  for (;;) {
    ::pause();
  }
}

void exit_in_log_hook(int argc, char** argv) {
  static troupe::system system{argc, argv};
  static troupe::pool pool{two_workers()};
  system.stop_on_signals();
  troupe::set_log_hook([](troupe::log_level, std::string_view text) {
    if (text.find("takes no more work") != std::string_view::npos) {
      say("logged");
      std::exit(0);  // NOLINT(concurrency-mt-unsafe): that is the point
    }
  });
  say(std::to_string(pool.apply(add, 1, 2)));
  ::kill(::getpid(), SIGTERM);
  for (;;) {
    ::pause();
  }
}

int leave(int status) {
  std::exit(status);  // NOLINT(concurrency-mt-unsafe): that is the point
}

/// A worker that is a copy of this program has its static objects, too.
void exit_in_task(int argc, char** argv) {
  std::atexit([] { say("exit handler of main"); });
  static const troupe::system system{argc, argv};
  static troupe::thread_pool threads{{.workers = 1}};
  static troupe::thread_pool_executor executor{{.workers = 1}};
  static troupe::pool pool{two_workers()};
  say(std::to_string(threads.apply(add, 1, 1)));
  say(std::to_string(pool.apply(add, 1, 2)));
  try {
    pool.apply(leave, 3);
    say("a task that exits has a result");
  } catch (const troupe::worker_lost& lost) {
    const auto status = lost.exit();
    say(status ? to_string(*status) : "an end that is not known");
  }
  say(std::to_string(pool.apply(add, 2, 2)));
}

void child_with_pools() {
  static troupe::pool nested{{.workers = 1}};
  static troupe::thread_pool threads{{.workers = 1}};
  std::atexit([] { say("child: " + use_processes(nested)); });
  say("child: " + std::to_string(threads.apply(add, 1, 1)));
  leave(0);
}

void child_processes(int argc, char** argv) {
  static const troupe::system system{argc, argv};
  static troupe::thread_pool threads{{.workers = 1}};
  static troupe::pool pool{two_workers()};
  say(use_processes(pool));
  static troupe::process child{{.start = method}, child_with_pools};
  child.start();
  child.join();
  say(to_string(*child.exit_status()));
}

void thread_that_made_a_pool(int argc, char** argv) {
  static auto* const made = new std::latch{1};
  {
    const troupe::system system{argc, argv};
    std::thread{[] {
      {
        troupe::pool pool{two_workers()};
        say(std::to_string(pool.apply(add, 1, 2)));
      }
      made->count_down();
      for (;;) {
        ::pause();
      }
    }}.detach();
    made->wait();
  }
  say("the system has ended");
}

}  // namespace

void die() {
  ::raise(SIGKILL);
}

/// The child returns from main, as its parent does.
void child_returns_from_main(int argc, char** argv) {
  static troupe::system system{argc, argv};
  troupe::pool pool{two_workers()};
  troupe::thread_pool threads{{.workers = 1}};
  troupe::process_pool_executor executor{two_workers()};
  const auto done = pool.apply_async(add, 1, 2);
  done.wait();
  const auto open = pool.apply_async(seven_for, -1);  // runs for ever
  const pid_t child = ::fork();
  if (child == 0) {
    return;
  }
  int status = -1;
  ::waitpid(child, &status, 0);
  say("the child ended with " + std::to_string(status));
  say(std::to_string(pool.apply(add, 3, 4)));
  try {
    pool.apply_async(die).get();
  } catch (const troupe::worker_lost&) {
    say("a death is noticed");
  }
  troupe::pool another{two_workers()};
  say(std::to_string(another.apply(add, 5, 6)) + " " +
      std::to_string(threads.apply([] { return 7; })) + " " +
      std::to_string(executor.submit(add, 4, 4).get()));
}

/// The processes with that name whose parent is this one.
std::vector<pid_t> children_called(const std::string& name) {
  std::vector<pid_t> found;
  for (const auto& entry : std::filesystem::directory_iterator{"/proc"}) {
    if (std::isdigit(entry.path().filename().c_str()[0]) == 0) {
      continue;
    }
    std::ifstream in{entry.path() / "stat"};
    const std::string text{std::istreambuf_iterator<char>{in}, {}};
    const auto open = text.find('(');
    const auto close = text.rfind(')');
    if (open != std::string::npos && close != std::string::npos &&
        text.substr(open + 1, close - open - 1) == name &&
        std::stoi(text.substr(close + 4)) == ::getpid()) {
      found.push_back(std::stoi(text));
    }
  }
  return found;
}

/// Nothing of the program's end waits for its fork server, which is stopped.
void fork_server_is_stopped(int argc, char** argv) {
  troupe::set_log_hook([](troupe::log_level, std::string_view) {});
  const troupe::system system{argc, argv};
  troupe::pool pool{two_workers()};
  say(std::to_string(pool.apply(add, 1, 2)));
  for (const pid_t server : children_called("troupe-server")) {
    ::kill(server, SIGSTOP);
  }
}

/// Threads make pools while their system ends: each is made or refused.
void threads_make_pools_at_its_end(int argc, char** argv) {
  troupe::set_log_hook([](troupe::log_level, std::string_view) {});
  for (int round = 0; round < 10; ++round) {
    std::atomic<int> made{0};
    std::vector<std::jthread> threads;
    {
      const troupe::system system{argc, argv};
      for (int k = 0; k < 3; ++k) {
        threads.emplace_back([&made](const std::stop_token& stop) {
          while (!stop.stop_requested()) {
            try {
              const troupe::pool pool{two_workers()};
              ++made;
            } catch (const troupe::error&) {
              return;  // the system ends
            }
          }
        });
      }
      while (made == 0) {
        std::this_thread::yield();
      }
    }
  }
  say("each was made or refused");
}

/// Under limits of processes, threads included, that let less and less of a system come up.
void a_limit_of_processes(int argc, char** argv) {
  if (std::getenv("TROUPE_ROLE") != nullptr) {
    const troupe::system takes_its_role{argc, argv};  // a fork server, which ends in there
  }
  for (rlim_t most = 8; most > 0; --most) {
    const pid_t child = ::fork();
    if (child == 0) {
      const rlimit limit{most, most};
      ::setrlimit(RLIMIT_NPROC, &limit);
      if (::geteuid() == 0 && ::setresuid(64'303, 64'303, 64'303) != 0) {
        ::_exit(2);
      }
      try {
        const troupe::system system{argc, argv};
      } catch (const troupe::error& refused) {
        ::_exit(refused.code() == troupe::errc::resource_exhausted ||
                        refused.code() == troupe::errc::spawn_failed
                    ? 0
                    : 3);
      }
      ::_exit(0);
    }
    int status = 0;
    ::waitpid(child, &status, 0);
    if (status != 0) {
      say("at " + std::to_string(most) + ": " + std::to_string(status));
    }
  }
  say("each came up or was refused");
}

/// The system of a pool ends while threads submit, wait, cancel and ask: each call returns or throws.
void threads_use_the_pool_at_its_end(int argc, char** argv) {
  troupe::set_log_hook([](troupe::log_level, std::string_view) {});
  for (int round = 0; round < 10; ++round) {
    std::unique_ptr<troupe::pool> pool;
    std::vector<troupe::future<int>> futures;
    std::vector<std::jthread> threads;
    {
      const troupe::system system{argc, argv};
      pool = std::make_unique<troupe::pool>(two_workers());
      for (int i = 0; i < 200; ++i) {
        futures.push_back(pool->apply_async(add, i, 1));
      }
      for (std::size_t k = 0; k < 3; ++k) {
        threads.emplace_back([&, k](const std::stop_token& stop) {
          for (std::size_t i = k; !stop.stop_requested(); ++i) {
            troupe::future<int>& one = futures[i % futures.size()];
            try {
              static_cast<void>(one.running());
              static_cast<void>(pool->stats());
              static_cast<void>(pool->workers());
              if (i % 7 == 0) {
                one.cancel();
              }
              one.wait_for(std::chrono::milliseconds{1});
              static_cast<void>(pool->apply_async(add, 1, 2));
            } catch (const troupe::error&) {  // NOLINT(bugprone-empty-catch): the pool has ended
            }
          }
        });
      }
    }
    for (auto& thread : threads) {
      thread.request_stop();
    }
    threads.clear();
    for (auto& one : futures) {
      one.wait();
    }
  }
  say("all have an outcome");
}

int main(int argc, char** argv) {
  late.touch();
  static const std::map<std::string_view, void (*)(int, char**)> places{
      {"a_global_system", a_global_system},
      {"exit_handler", exit_handler},
      {"static_destructor", static_destructor},
      {"thread_local_destructor", thread_local_destructor},
      {"queue_in_exit_handler", queue_in_exit_handler},
      {"connection_with_a_key", connection_with_a_key},
      {"static_thread_executor", static_thread_executor},
      {"submission_after_the_system", submission_after_the_system},
      {"callback_after_the_system", callback_after_the_system},
      {"pool_that_outlives_the_system", pool_that_outlives_the_system},
      {"static_system", static_system},
      {"static_system_and_exit", static_system_and_exit},
      {"exit_in_callback", exit_in_callback},
      {"exit_in_log_hook", exit_in_log_hook},
      {"exit_in_task", exit_in_task},
      {"child_processes", child_processes},
      {"thread_that_made_a_pool", thread_that_made_a_pool},
      {"child_returns_from_main", child_returns_from_main},
      {"fork_server_is_stopped", fork_server_is_stopped},
      {"threads_use_the_pool_at_its_end", threads_use_the_pool_at_its_end},
      {"threads_make_pools_at_its_end", threads_make_pools_at_its_end},
      {"a_limit_of_processes", a_limit_of_processes},
  };
  for (const auto one : {troupe::start_method::forkserver, troupe::start_method::spawn,
                         troupe::start_method::fork}) {
    if (argc > 2 && to_string(one) == std::string_view{argv[2]}) {
      method = one;
    }
  }
  const auto place = places.find(argc > 1 ? argv[1] : "");
  if (place == places.end()) {
    say("which place?");
    return 2;
  }
  place->second(argc, argv);
}
