// SPDX-License-Identifier: BSD-3-Clause
// `process`: a function in a process of its own, from its start to its exit status.
#include "troupe/process.hpp"

#include "troupe/system.hpp"

#include "pool_fixture.hpp"
#include "support/processes.hpp"

#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <optional>
#include <sstream>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace troupe::test {
namespace {

struct Process : every_start_method {
  [[nodiscard]] process_options how(std::string name = {}) const {
    process_options made;
    made.name = std::move(name);
    made.start = GetParam();
    return made;
  }
  [[nodiscard]] process_options daemon() const {
    process_options made = how();
    made.daemon = true;
    return made;
  }
};
TROUPE_FOR_EVERY_START_METHOD(Process);

std::string content(const std::string& path) {
  std::ifstream file{path};
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}
void write_to(const std::string& path, const std::string& text) {
  std::ofstream{path, std::ios::app} << text;
}
void nothing() {}
void wait_for_gate(const std::string& running, const std::string& gate) {
  wait_at(running, gate);
}
[[noreturn]] void wait_for_ever(const std::string& running) {
  mark(running);
  for (;;) {
    ::pause();
  }
}

TEST_P(Process, HasAWholeLife) {
  process p{how("greeter"), write_to, file("out"), "hello"};
  EXPECT_EQ(p.name(), "greeter");
  EXPECT_FALSE(p.is_alive());
  EXPECT_EQ(p.pid(), 0);
  EXPECT_FALSE(p.exit_status());
  EXPECT_TRUE(active_children().empty());
  p.start();
  EXPECT_GT(p.pid(), 0);
  p.join();
  EXPECT_FALSE(p.is_alive());
  EXPECT_EQ(p.exit_status(), exit_status{exited{0}});
  EXPECT_EQ(content(file("out")), "hello");
  EXPECT_TRUE(active_children().empty());
  p.close();
  p.close();
  EXPECT_TRUE(fails_with(errc::wrong_state, [&] { return p.is_alive(); }));
  EXPECT_TRUE(fails_with(errc::wrong_state, [&] { return p.join(), 0; }));
  EXPECT_TRUE(fails_with(errc::wrong_state, [&] { return p.terminate(), 0; }));
}

TEST_P(Process, IsAliveAndListedWhileItRuns) {
  process p{how("runner"), wait_for_gate, file("running"), file("gate")};
  p.start();
  EXPECT_TRUE(p.is_alive());
  EXPECT_FALSE(p.join_for(0s));
  EXPECT_FALSE(p.join_for(-1s));
  const auto children = active_children();
  ASSERT_EQ(children.size(), 1U);
  EXPECT_EQ(children[0].pid, p.pid());
  EXPECT_EQ(children[0].name, "runner");
  EXPECT_FALSE(children[0].daemon);
  EXPECT_TRUE(fails_with(errc::wrong_state, [&] { return p.close(), 0; }));
  mark(file("gate"));
  EXPECT_TRUE(p.join_for(1h));
  EXPECT_TRUE(p.join_for(0s)) << "as often as one likes";
}

TEST_P(Process, JoinUntilGivesUpAtItsTime) {
  process p{how(), wait_for_gate, file("running"), file("gate")};
  p.start();
  const auto now = std::chrono::steady_clock::now();
  EXPECT_FALSE(p.join_until(now + 20ms));
  EXPECT_GE(std::chrono::steady_clock::now(), now + 20ms);
  EXPECT_FALSE(p.join_until(now - 1h));
  mark(file("gate"));
  EXPECT_TRUE(p.join_until(now + 1h));
}

TEST_P(Process, WorkersOfPoolsAreNotAmongActiveChildren) {
  const pool p{{.workers = 2, .start = GetParam()}};
  EXPECT_EQ(p.workers().size(), 2U);
  EXPECT_TRUE(active_children().empty());
}

TEST_P(Process, HasAnEmptyStdinAndTheStreamsOfThisProgram) {
  const auto link = [](const char* stream) {
    return std::filesystem::read_symlink(stream).string();
  };
  process p{how(),
            [](const std::string& path) {
              char byte = 0;
              const auto got = ::read(0, &byte, 1);
              write_to(path, std::to_string(got) + " " +
                                 std::filesystem::read_symlink("/proc/self/fd/1").string() + " " +
                                 std::filesystem::read_symlink("/proc/self/fd/2").string());
            },
            file("out")};
  p.start();
  p.join();
  EXPECT_EQ(content(file("out")), "0 " + link("/proc/self/fd/1") + " " + link("/proc/self/fd/2"));
}

TEST_P(Process, ToldItsIdentity) {
  process p{how("given"),
            [](const std::string& path) {
              const auto parent = this_process::parent();
              std::ofstream{path} << this_process::name() << ' ' << this_process::pid() << ' '
                                  << this_process::is_daemon() << this_process::is_worker() << ' '
                                  << parent->name() << ' ' << parent->pid() << ' '
                                  << parent->is_alive();
            },
            file("out")};
  p.start();
  p.join();
  EXPECT_EQ(content(file("out")),
            "given " + std::to_string(p.pid()) + " 00 main " + std::to_string(::getpid()) + " 1");
  EXPECT_FALSE(this_process::parent());
  EXPECT_EQ(this_process::name(), "main");
}

TEST_P(Process, NamesCountUp) {
  const process one{how(), nothing};
  const process two{how(), nothing};
  EXPECT_TRUE(one.name().starts_with("process-"));
  EXPECT_NE(one.name(), two.name());
}

TEST_P(Process, ExitCodesAndSignalsAreToldApart) {
  const auto end_of = [&](auto function) {
    process p{how(), function};
    p.start();
    p.join();
    return *p.exit_status();
  };
  EXPECT_EQ(end_of([] { ::exit(7); }), exit_status{exited{7}});
  EXPECT_EQ(end_of([] { ::_exit(8); }), exit_status{exited{8}});
  EXPECT_EQ(end_of([] { ::kill(::getpid(), SIGTERM); }), exit_status{killed_by{SIGTERM}});
  EXPECT_EQ(end_of([] { ::abort(); }), exit_status{killed_by{SIGABRT}});
  EXPECT_EQ(end_of([] { ::raise(SIGINT); }), exit_status{killed_by{SIGINT}}) << "not ignored";
}

TEST_P(Process, AnUncaughtExceptionIsPrintedAndExitsWithOne) {
  process p{how("thrower"),
            [](const std::string& path) {
              const int out = ::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
              ::dup2(out, STDERR_FILENO);
              throw std::out_of_range{"no such thing"};
            },
            file("err")};
  p.start();
  p.join();
  EXPECT_EQ(p.exit_status(), exit_status{exited{1}});
  const std::string text = content(file("err"));
  EXPECT_NE(text.find("process 'thrower' (pid " + std::to_string(p.pid()) + ")"), std::string::npos)
      << text;
  EXPECT_NE(text.find("std::out_of_range"), std::string::npos) << text;
  EXPECT_NE(text.find("no such thing"), std::string::npos) << text;
}

TEST_P(Process, OutputIsFlushedHoweverItEnds) {
  for (const bool by_exit : {false, true}) {
    process p{how(),
              [](const std::string& path, bool exits) {
                std::freopen(path.c_str(), "a", stdout);
                std::printf("buffered");
                std::cout << " twice";
                if (exits) {
                  ::exit(0);
                }
              },
              file("out"), by_exit};
    p.start();
    p.join();
    EXPECT_EQ(content(file("out")), "buffered twice");
    std::filesystem::remove(file("out"));
  }
}

std::string handler_says;
TEST_P(Process, HandlersRegisteredThereRunThere) {
  process p{how(),
            [](const std::string& path) {
              handler_says = path;
              std::atexit([] { mark(handler_says); });
            },
            file("handled")};
  p.start();
  p.join();
  EXPECT_EQ(p.exit_status(), exit_status{exited{0}});
  EXPECT_EQ(marks(file("handled")), 1U);
}

TEST_P(Process, TerminateKillAndInterrupt) {
  const auto end_of = [&](void (process::*how_to_end)() const, const char* name) {
    process p{how(), wait_for_ever, file(name)};
    p.start();
    EXPECT_TRUE(eventually([&] { return marks(file(name)) > 0; }));
    (p.*how_to_end)();
    p.join();
    (p.*how_to_end)();  // nothing happens
    return *p.exit_status();
  };
  EXPECT_EQ(end_of(&process::terminate, "a"), exit_status{killed_by{SIGTERM}});
  EXPECT_EQ(end_of(&process::kill, "b"), exit_status{killed_by{SIGKILL}});
  EXPECT_EQ(end_of(&process::interrupt, "c"), exit_status{killed_by{SIGINT}});
}

TEST_P(Process, AnInterruptRightAfterTheStartCounts) {
  for (int i = 0; i < 20; ++i) {
    process p{how(), wait_for_ever, file("running")};
    p.start();
    p.interrupt();
    p.join();
    EXPECT_EQ(p.exit_status(), exit_status{killed_by{SIGINT}});
  }
}

TEST_P(Process, MisuseIsAnErrorThatSaysSo) {
  process p{how("fresh"), nothing};
  EXPECT_TRUE(fails_with(errc::wrong_state, [&] { return p.join(), 0; }));
  EXPECT_TRUE(fails_with(errc::wrong_state, [&] { return p.terminate(), 0; }));
  EXPECT_TRUE(fails_with(errc::wrong_state, [&] { return p.sentinel(); }));
  p.start();
  EXPECT_TRUE(fails_with(errc::wrong_state, [&] { return p.start(), 0; }));
  p.join();
  EXPECT_TRUE(fails_with(errc::wrong_state, [&] { return p.start(), 0; })) << "nor once more";
  process none;
  EXPECT_TRUE(fails_with(errc::no_state, [&] { return none.start(), 0; }));
  const pid_t child = ::fork();
  if (child == 0) {
    try {
      p.join();
    } catch (const error& problem) {
      ::_exit(problem.code() == errc::wrong_state ? 0 : 1);
    }
    ::_exit(2);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  EXPECT_EQ(status, 0) << "used in a process that did not make it";
}

TEST_P(Process, TheSentinelIsReadableAtTheEnd) {
  process p{how(), wait_for_gate, file("running"), file("gate")};
  p.start();
  pollfd end{p.sentinel(), POLLIN, 0};
  EXPECT_EQ(::poll(&end, 1, 0), 0);
  mark(file("gate"));
  EXPECT_EQ(::poll(&end, 1, -1), 1);
  p.join();
  EXPECT_EQ(p.exit_status(), exit_status{exited{0}});
}

TEST_P(Process, LargeArgumentsArrive) {
  std::vector<int> many(1'000'000);
  for (std::size_t i = 0; i < many.size(); ++i) {
    many[i] = static_cast<int>(i);
  }
  process p{how(),
            [](const std::vector<int>& got, const std::string& path) {
              std::int64_t sum = 0;
              for (const int n : got) {
                sum += n;
              }
              write_to(path, std::to_string(sum));
            },
            many, file("sum")};
  many.clear();
  p.start();
  p.join();
  EXPECT_EQ(content(file("sum")), "499999500000");
}

TEST_P(Process, ManyAtOnceAndTerminatedAtOnce) {
  std::vector<process> all;
  for (int i = 0; i < 30; ++i) {
    all.emplace_back(how(), nothing);
  }
  for (process& p : all) {
    p.start();
  }
  for (process& p : all) {
    p.join();
    EXPECT_EQ(p.exit_status(), exit_status{exited{0}});
  }
  std::vector<process> sleeping;
  for (int i = 0; i < 30; ++i) {
    sleeping.emplace_back(how(), wait_for_ever, file("running"));
    sleeping.back().start();
    sleeping.back().terminate();
  }
  for (process& p : sleeping) {
    p.join();
    EXPECT_EQ(p.exit_status(), exit_status{killed_by{SIGTERM}});
  }
}

void recurse(const std::string& path, const std::string& id, int depth) {
  write_to(path, "[" + id + "]");
  if (depth == 0) {
    return;
  }
  for (int i = 0; i < 2; ++i) {
    process child{recurse, path, id + std::to_string(i), depth - 1};
    child.start();
    child.join();
  }
}
TEST_P(Process, ChildrenHaveChildren) {
  set_start_method(GetParam());
  process p{how(), recurse, file("order"), "", 2};
  p.start();
  p.join();
  set_start_method(start_method::forkserver);
  EXPECT_EQ(p.exit_status(), exit_status{exited{0}});
  EXPECT_EQ(content(file("order")), "[][0][00][01][1][10][11]");
}

TEST_P(Process, ChildrenThatAreNotJoinedAreWaitedForAndDaemonsEnded) {
  process p{how(),
            [](const std::string& done, const std::string& running) {
              process waited{[](const std::string& path) { mark(path); }, done};
              waited.start();
              process ended{process_options{.daemon = true}, wait_for_ever, running};
              ended.start();
              if (!eventually([&] { return marks(running) > 0; })) {
                throw std::runtime_error{"the daemon never ran"};
              }
            },
            file("done"), file("running")};
  p.start();
  p.join();
  EXPECT_EQ(p.exit_status(), exit_status{exited{0}});
  EXPECT_EQ(marks(file("done")), 1U);
}

[[noreturn]] void wait_for_ever_without_sigterm(const std::string& running) {
  ::signal(SIGTERM, SIG_IGN);
  wait_for_ever(running);
}

TEST_P(Process, ADaemonThatIgnoresSigtermIsKilledAfterItsGrace) {
  process p{how(),
            [](const std::string& running, const std::string& pid) {
              process ended{process_options{.daemon = true, .grace = 20ms},
                            wait_for_ever_without_sigterm, running};
              ended.start();
              write_to(pid, std::to_string(ended.pid()));
              if (!eventually([&] { return marks(running) > 0; })) {
                throw std::runtime_error{"the daemon never ran"};
              }
            },
            file("running"), file("pid")};
  p.start();
  p.join();
  EXPECT_EQ(p.exit_status(), exit_status{exited{0}});
  const int daemon = std::stoi(content(file("pid")));
  EXPECT_TRUE(eventually([&] { return ::kill(daemon, 0) != 0; })) << "the daemon is still there";
}

TEST_P(Process, APoolInAProcess) {
  process p{how(),
            [](const std::string& path) {
              pool inner{{.workers = 2}};
              const auto squares = inner.map(square, std::views::iota(0, 5));
              write_to(path, std::to_string(squares.at(4)));
            },
            file("out")};
  p.start();
  p.join();
  EXPECT_EQ(content(file("out")), "16");
}

TEST_P(Process, GoesOnWithoutItsHandle) {
  {
    process p{how(), wait_for_gate, file("running"), file("gate")};
    p.start();
  }
  ASSERT_EQ(active_children().size(), 1U);
  mark(file("gate"));
  EXPECT_TRUE(eventually([] { return active_children().empty(); }));
}

TEST_P(Process, ASignalDuringJoinChangesNothing) {
  process p{how(), wait_for_gate, file("running"), file("gate")};
  p.start();
  struct sigaction action{};
  struct sigaction old{};
  action.sa_handler = [](int) {};
  ::sigaction(SIGUSR1, &action, &old);
  const pthread_t here = ::pthread_self();
  std::thread signals{[&] {
    for (int i = 0; i < 100; ++i) {
      ::pthread_kill(here, SIGUSR1);
    }
    mark(file("gate"));
  }};
  p.join();
  signals.join();
  ::sigaction(SIGUSR1, &old, nullptr);
  EXPECT_EQ(p.exit_status(), exit_status{exited{0}});
}

class doubler : public process_base<doubler> {
 public:
  doubler() = default;
  doubler(process_options options, std::vector<int> numbers, std::string path)
      : process_base{std::move(options)}, numbers_{std::move(numbers)}, path_{std::move(path)} {}
  template <class Archive>
  void serialize(Archive& ar) {
    ar(numbers_, path_);
  }
  void run() override {
    for (int& n : numbers_) {
      n *= 2;
      write_to(path_, std::to_string(n) + " ");
    }
  }
  [[nodiscard]] const std::vector<int>& numbers() const { return numbers_; }

 private:
  std::vector<int> numbers_;
  std::string path_;
};

TEST_P(Process, AsAClass) {
  doubler d{how("doubler"), {1, 2, 3}, file("out")};
  EXPECT_FALSE(d.is_alive());
  d.start();
  d.join();
  EXPECT_EQ(d.exit_status(), exit_status{exited{0}});
  EXPECT_EQ(d.name(), "doubler");
  EXPECT_EQ(content(file("out")), "2 4 6 ");
  EXPECT_EQ(d.numbers(), (std::vector<int>{1, 2, 3})) << "only there it changes";
  EXPECT_TRUE(fails_with(errc::wrong_state, [&] { return d.start(), 0; }));
}

TEST_P(Process, DiesWithItsStarter) {
  process p{how(),
            [](const std::string& pids, const std::string& running) {
              process inner{[](const std::string& out, const std::string& up) {
                              write_to(out, std::to_string(::getpid()));
                              wait_for_ever(up);
                            },
                            pids, running};
              inner.start();
              inner.join();
            },
            file("pid"), file("running")};
  p.start();
  ASSERT_TRUE(eventually([&] { return marks(file("running")) > 0; }));
  const auto inner = static_cast<pid_t>(std::stol(content(file("pid"))));
  p.kill();
  p.join();
  EXPECT_TRUE(eventually([&] { return ::kill(inner, 0) != 0; })) << "the guardian ends it";
}

}  // namespace
}  // namespace troupe::test
