// SPDX-License-Identifier: BSD-3-Clause
// What a process of the user's own promises beyond its plain life: what it inherits, what ends it
// and what does not, and what it may make itself.
#include "troupe/connection.hpp"
#include "troupe/event.hpp"
#include "troupe/mutex.hpp"
#include "troupe/process.hpp"
#include "troupe/queue.hpp"
#include "troupe/this_process.hpp"
#include "troupe/value.hpp"
#include "troupe/wait_readable.hpp"

#include "fault_fixture.hpp"
#include "support/no_descriptors.hpp"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <exception>
#include <fstream>
#include <iostream>
#include <iterator>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace troupe::test {
namespace {

struct ProcessPromises : every_start_method {
  template <class F, class... Args>
  [[nodiscard]] process make(F function, const Args&... arguments) const {
    process_options how;
    how.start = GetParam();
    return process{how, function, arguments...};
  }
  template <class F, class... Args>
  [[nodiscard]] exit_status end_of(F function, const Args&... arguments) const {
    process made = make(function, arguments...);
    made.start();
    made.join();
    return *made.exit_status();
  }
  void TearDown() override { set_start_method(start_method::forkserver); }
};
TROUPE_FOR_EVERY_START_METHOD(ProcessPromises);

std::string content(const std::string& path) {
  std::ifstream file{path, std::ios::binary};
  return {std::istreambuf_iterator<char>{file}, {}};
}

// ---- what it is given --------------------------------------------------------------------------

TEST_P(ProcessPromises, HasTheStartMethodOfItsProgramAsItsDefault) {
  set_start_method(GetParam());
  value<int> of_process{-1};
  value<int> of_grandchild{-1};
  process p{[](value<int> mine, value<int> next) {
              mine.store(static_cast<int>(get_start_method()));
              process child{[](value<int> its) { its.store(static_cast<int>(get_start_method())); },
                            next};
              child.start();
              child.join();
            },
            of_process, of_grandchild};
  p.start();
  p.join();
  EXPECT_EQ(of_process.load(), static_cast<int>(GetParam()));
  EXPECT_EQ(of_grandchild.load(), static_cast<int>(GetParam()));
  pool workers{{.workers = 1}};
  EXPECT_EQ(workers.apply([] { return static_cast<int>(get_start_method()); }),
            static_cast<int>(GetParam()));
}

TEST_P(ProcessPromises, HasTheArgumentsAndTheEnvironmentOfItsProgram) {
  const auto of_this_program = [] {
    const char* const path = ::getenv("PATH");
    return content("/proc/self/cmdline") + (path != nullptr ? path : "");
  };
  EXPECT_EQ(end_of(
                [](const std::string& to, const std::string& expected) {
                  const char* const path = ::getenv("PATH");
                  const std::string here =
                      content("/proc/self/cmdline") + (path != nullptr ? path : "");
                  std::ofstream{to} << (here == expected ? "same" : here);
                },
                file("out"), of_this_program()),
            exit_status{exited{0}});
  EXPECT_EQ(content(file("out")), "same");
}

struct counted {
  static inline int alive = 0;
  counted() { ++alive; }
  counted(const counted& /*other*/) { ++alive; }
  counted& operator=(const counted&) = default;
  ~counted() { --alive; }
  template <class Archive>
  void serialize(Archive& /*ar*/) {}
};

TEST_P(ProcessPromises, KeepsNoArgumentsAlive) {
  {
    process p = make([](const counted& /*given*/) {}, counted{});
    EXPECT_EQ(counted::alive, 0) << "they were copied: what is changed now is not seen there";
    p.start();
    p.join();
  }
  EXPECT_EQ(counted::alive, 0);
}

TEST_P(ProcessPromises, LetsGoOfSharedObjectsWhenItWasStarted) {
  auto [here, there] = pipe();
  process p = make([](connection its) { its.send(1); }, there);
  p.start();
  there.close();
  EXPECT_EQ(here.recv<int>(), 1) << "it could use what was closed here after the start";
  p.join();
  EXPECT_THROW(static_cast<void>(here.recv<int>()), end_of_stream)
      << "the handle of the process still holds the other end";
}

// ---- starts that fail --------------------------------------------------------------------------

#if defined(TROUPE_FAILPOINTS) && TROUPE_FAILPOINTS

TEST_P(ProcessPromises, AfterAStartThatFailsItMayBeStartedAgain) {
  process p = make([] {});
  failpoint::arm("server.fork", failpoint::action::give_errno, 1, 1, EAGAIN);
  EXPECT_TRUE(fails_with(errc::spawn_failed, [&] { return p.start(), 0; }));
  failpoint::reset();
  EXPECT_EQ(p.pid(), 0);
  EXPECT_FALSE(p.is_alive());
  EXPECT_TRUE(active_children().empty());
  p.start();
  p.join();
  EXPECT_EQ(p.exit_status(), exit_status{exited{0}});
}

#endif

TEST_P(ProcessPromises, WithoutDescriptorsTheStartFailsAndMayBeTriedAgain) {
  process p = make([] {});
  std::exception_ptr thrown;  // looked at later: UBSan needs descriptors to check a vptr
  {
    const no_descriptors while_it_starts;
    try {
      p.start();
    } catch (...) {
      thrown = std::current_exception();
    }
  }
  ASSERT_TRUE(thrown);
  EXPECT_TRUE(fails_with(errc::resource_exhausted, [&] {
    std::rethrow_exception(thrown);
    return 0;
  }));
  p.start();
  p.join();
  EXPECT_EQ(p.exit_status(), exit_status{exited{0}});
}

struct not_today {
  template <class Archive>
  void save(Archive& /*ar*/) const {
    throw std::domain_error{"not today"};
  }
  template <class Archive>
  void load(Archive& /*ar*/) {}
};

TEST_P(ProcessPromises, ItsConstructorThrowsWhatEncodingThrows) {
  EXPECT_THROW(static_cast<void>(make([](const not_today& /*given*/) {}, not_today{})),
               std::domain_error);
  EXPECT_TRUE(active_children().empty());
}

TEST_P(ProcessPromises, WaitsForTheEndOfItsParentByTimeOrByADescriptor) {
  EXPECT_EQ(end_of([] {
              const auto parent = this_process::parent();
              const bool runs = parent && parent->is_alive() && !parent->join_for(0s) &&
                                !parent->join_for(-1h) && parent->sentinel() >= 0 &&
                                wait_readable({waitable{parent->sentinel()}}, 0s).empty();
              ::_exit(runs ? 5 : 6);
            }),
            exit_status{exited{5}});
  EXPECT_EQ(parent_process{}.sentinel(), -1);
  EXPECT_EQ(parent_process{}.pid(), 0);
}

TEST_P(ProcessPromises, OnlyWorkersHaveTheIdAndTheNameOfAWorker) {
  EXPECT_EQ(this_process::worker_id(), 0U);
  EXPECT_FALSE(this_process::is_worker());
  pool workers{options(1)};
  const std::uint64_t id = workers.workers().at(0).id;
  EXPECT_EQ(workers.apply([] { return this_process::worker_id(); }), id);
  EXPECT_EQ(workers.apply([] { return this_process::name(); }), "troupe-w" + std::to_string(id));
  EXPECT_TRUE(workers.apply([] { return this_process::is_worker(); }));
  EXPECT_EQ(end_of([] { ::_exit(this_process::is_worker() ? 1 : 5); }), exit_status{exited{5}});
}

// ---- how it ends -------------------------------------------------------------------------------

TEST_P(ProcessPromises, AnInterruptThatItHandlesDoesNotEndIt) {
  process p = make(
      [](const std::string& running, const std::string& gate) {
        static volatile sig_atomic_t handled = 0;
        ::signal(SIGINT, [](int) { handled = 1; });
        wait_at(running, gate);
        // It comes by way of the fork server, when it comes.
        ::_exit(eventually([] { return handled != 0; }) ? 41 : 40);
      },
      file("running"), file("gate"));
  p.start();
  ASSERT_TRUE(eventually([&] { return marks(file("running")) > 0; }));
  p.interrupt();
  EXPECT_FALSE(p.join_for(0s));
  mark(file("gate"));
  p.join();
  EXPECT_EQ(p.exit_status(), exit_status{exited{41}});
}

TEST_P(ProcessPromises, DoesNotWaitForDetachedThreads) {
  EXPECT_EQ(end_of(
                [](const std::string& running) {
                  std::thread{[running] {
                    mark(running);
                    for (;;) {
                      ::pause();
                    }
                  }}.detach();
                  if (!eventually([&] { return marks(running) > 0; })) {
                    throw std::runtime_error{"the thread never ran"};
                  }
                },
                file("running")),
            exit_status{exited{0}});
}

TEST_P(ProcessPromises, EndsWellWithoutStandardStreams) {
  EXPECT_EQ(end_of([] {
              std::printf("to no stream");
              std::cout << "to no stream";
              for (int number = 0; number < 3; ++number) {
                ::close(number);
              }
            }),
            exit_status{exited{0}});
  EXPECT_EQ(end_of([] {
              const int full = ::open("/dev/full", O_WRONLY | O_CLOEXEC);
              ::dup2(full, STDOUT_FILENO);
              ::dup2(full, STDERR_FILENO);
              std::printf("too much");
              std::cout << "too much";
            }),
            exit_status{exited{0}});
  EXPECT_EQ(end_of([] {
              ::close(STDERR_FILENO);
              throw std::runtime_error{"that cannot be reported"};
            }),
            exit_status{exited{1}});
}

TEST_P(ProcessPromises, ACrashInAnExitHandlerIsHowItEnded) {
  if (sanitized) {
    GTEST_SKIP() << "the sanitizers have their own ways to end";
  }
  EXPECT_EQ(end_of([] { std::atexit([] { ::raise(SIGSEGV); }); }), exit_status{killed_by{SIGSEGV}});
}

TEST_P(ProcessPromises, OneThatHangsInAnExitHandlerIsEndedByTheLadder) {
  process_options how;
  how.start = GetParam();
  process p{how,
            [](const std::string& path) {
              static std::string running;
              running = path;
              std::atexit([] {
                mark(running);
                for (;;) {
                  ::pause();
                }
              });
            },
            file("running")};
  p.start();
  ASSERT_TRUE(eventually([&] { return marks(file("running")) > 0; }));
  EXPECT_TRUE(p.is_alive());
  p.terminate();
  p.join();
  EXPECT_EQ(p.exit_status(), exit_status{killed_by{SIGTERM}});
}

TEST_P(ProcessPromises, AHundredAtOnceAndAHundredTerminatedAtOnce) {
  const int many = GetParam() == start_method::spawn || sanitized ? 20 : 100;
  std::vector<process> all;
  for (int i = 0; i < many; ++i) {
    all.push_back(make([] {}));
    all.back().start();
  }
  for (process& p : all) {
    p.join();
    EXPECT_EQ(p.exit_status(), exit_status{exited{0}});
  }
  all.clear();
  for (int i = 0; i < many; ++i) {
    all.push_back(make([] {
      for (;;) {
        ::pause();
      }
    }));
    all.back().start();
    all.back().terminate();
  }
  for (process& p : all) {
    p.join();
    EXPECT_EQ(p.exit_status(), exit_status{killed_by{SIGTERM}});
  }
}

TEST_P(ProcessPromises, WithoutItsForkServerItDiesAndTheNextOneStarts) {
  if (GetParam() == start_method::fork) {
    GTEST_SKIP() << "it is the program's own child, and lives on";
  }
  process p = make([] {
    for (;;) {
      ::pause();
    }
  });
  p.start();
  // What the server forks has its name for a moment.
  ASSERT_TRUE(eventually([] { return fork_servers().size() == 1; }));
  ::kill(fork_servers().front(), SIGKILL);
  p.join();
  EXPECT_EQ(p.exit_status(), exit_status{killed_by{SIGKILL}});
  EXPECT_EQ(end_of([] {}), exit_status{exited{0}});
  for (const int pid : fork_servers()) {
    ignore_process(pid);  // the one that there was at the beginning is gone
  }
}

TEST_P(ProcessPromises, AFullStandardErrorStopsNoOtherProcess) {
  const int before = ::fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
  const int disk = ::open("/dev/full", O_WRONLY | O_CLOEXEC);
  ::dup2(disk, STDERR_FILENO);
  ::close(disk);
  std::vector<int> got;
  exit_status end{exited{99}};
  {
    pool workers{options()};
    got = workers.map(
        [](int x) {
          std::cerr << std::string(1000, 'e') << '\n';
          return x + 1;
        },
        std::views::iota(0, 200));
    end = end_of([] { std::cerr << "too much\n"; });
  }
  ::dup2(before, STDERR_FILENO);
  ::close(before);
  ASSERT_EQ(got.size(), 200U);
  EXPECT_EQ(got.back(), 200);
  EXPECT_EQ(end, exit_status{exited{0}});
}

// ---- what it makes and talks to ----------------------------------------------------------------

class server : public process_base<server> {
 public:
  server() = default;
  server(process_options options, connection its_end)
      : process_base{std::move(options)}, its_end_{std::move(its_end)} {}
  template <class Archive>
  void serialize(Archive& ar) {
    ar(its_end_);
  }
  void run() override {
    while (const int request = its_end_.recv<int>()) {
      its_end_.send(request * 2);
    }
  }

 private:
  connection its_end_;
};

TEST_P(ProcessPromises, AClassMayHaveAConnectionOfItsOwn) {
  process_options how;
  how.start = GetParam();
  auto [here, there] = pipe();
  server s{how, there};
  s.start();
  for (const int request : {1, 21}) {
    here.send(request);
    EXPECT_EQ(here.recv<int>(), 2 * request);
  }
  here.send(0);
  s.join();
  EXPECT_EQ(s.exit_status(), exit_status{exited{0}});
}

TEST_P(ProcessPromises, MakesQueuesAndProcessesOfItsOwn) {
  set_start_method(GetParam());
  EXPECT_EQ(end_of([] {
              queue<int> answers;
              process child{[](queue<int> to) { to.put(42); }, answers};
              child.start();
              const int got = answers.get();
              child.join();
              ::_exit(got);
            }),
            exit_status{exited{42}});
}

TEST_P(ProcessPromises, StartedByATaskItIsOutsideOfTheTask) {
  pool workers{options(1)};
  EXPECT_EQ(workers.apply([] {
    process p{[] {
      this_task::progress(1, 2);
      const bool outside = this_task::id() == 0 && !this_task::stop_token().stop_possible();
      ::_exit(outside ? 5 : 6);
    }};
    p.start();
    p.join();
    return p.exit_status() == exit_status{exited{5}};
  }),
            true);
}

TEST_P(ProcessPromises, SentinelsAndConnectionsAreWaitedForTogether) {
  auto [here, there] = pipe();
  process talks = make(
      [](connection its, const std::string& running, const std::string& gate) {
        its.send(1);
        wait_at(running, gate);
      },
      there, file("running"), file("gate"));
  process ends = make([] {});
  talks.start();
  ends.start();
  const std::vector<waitable> all{here, talks.sentinel(), ends.sentinel()};
  EXPECT_TRUE(eventually([&] { return wait_readable(all, 1ms).size() == 2; }));
  EXPECT_EQ(here.recv<int>(), 1);
  EXPECT_EQ(wait_readable({waitable{here}, waitable{talks.sentinel()}}, 0s).size(), 0U);
  mark(file("gate"));
  EXPECT_EQ(wait_readable({waitable{here}, waitable{talks.sentinel()}}, 1h).size(), 1U);
  talks.join();
  ends.join();
}

}  // namespace
}  // namespace troupe::test
