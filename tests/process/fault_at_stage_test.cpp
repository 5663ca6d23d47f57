// SPDX-License-Identifier: BSD-3-Clause
// A worker ends at every station of a task's way, and of its own: exactly what it had begun is
// lost.
#include "fault_fixture.hpp"

#include <cerrno>
#include <ranges>

namespace troupe::test {
namespace {

void crash_at_once(int signal) {
  ::signal(signal, SIG_DFL);
  ::raise(signal);
}
std::size_t size_of(const std::vector<char>& bytes) {
  return bytes.size();
}

using failpoint::action;
using failpoint::arm;

struct FaultAtStage : fault_test {};
TROUPE_FOR_EVERY_START_METHOD(FaultAtStage);

// ---- before the first task ----------------------------------------------------------------------

// B01
TEST_P(FaultAtStage, AnExecThatFailsIsTheConstructorsError) {
  if (GetParam() != start_method::spawn) {
    GTEST_SKIP() << "only spawn executes anything";
  }
  for (const int code : {ENOENT, EACCES, ETXTBSY, E2BIG, ENOMEM}) {
    SCOPED_TRACE(code);
    arm("worker.exec", action::give_errno, 3, 1, code);
    try {
      const pool p{crew_of()};
      FAIL() << "a pool";
    } catch (const error& problem) {
      EXPECT_EQ(problem.code(), errc::spawn_failed);
      EXPECT_NE(std::string{problem.what()}.find("errno " + std::to_string(code)),
                std::string::npos)
          << problem.what();
    }
    EXPECT_TRUE(eventually([&] { return count_processes("troupe-w") == 0; }));
  }
  pool p{crew_of()};
  expect_whole(p);
}

// B02
TEST_P(FaultAtStage, AWorkerThatDiesBeforeItIsReadyFailsTheConstructor) {
  for (const char* where : {"worker.forked", "worker.before_hello", "worker.initializer"}) {
    for (const action how : {action::kill, action::segv, action::exit_zero}) {
      SCOPED_TRACE(std::string{where} + " " + std::to_string(static_cast<int>(how)));
      arm(where, how, 3);
      EXPECT_TRUE(fails_with(errc::spawn_failed, [&] { return pool{crew_of()}; }));
      EXPECT_TRUE(eventually([&] { return count_processes("troupe-w") == 0; }));
    }
  }
  pool p{crew_of()};
  expect_whole(p);
}

// B02
TEST_P(FaultAtStage, AReplacementThatDiesBeforeItIsReadyIsReplacedToo) {
  for (const char* where : {"worker.forked", "worker.before_hello", "worker.initializer"}) {
    SCOPED_TRACE(where);
    pool p{crew_of()};
    arm(where, action::kill, 1, 2);
    bystanders others{p, fresh_file(), fresh_file()};
    EXPECT_TRUE(is_lost(p.apply_async(crash_at_once, SIGKILL), killed_by{SIGKILL}));
    others.expect_success();
    expect_whole(p);
    EXPECT_GE(failpoint::hits(where), 3U);
  }
}

// B02
TEST_P(FaultAtStage, ReplacementsThatNeverComeUpBreakThePool) {
  pool p{crew_of()};
  arm("worker.before_hello", action::kill, 1, 1'000'000);
  const auto lost = p.apply_async(crash_at_once, SIGKILL);
  EXPECT_EQ(outcome_of(lost), ended::lost);
  EXPECT_TRUE(eventually([&] {
    try {
      p.apply(square, 2);
      return false;
    } catch (const pool_broken&) {
      return true;
    }
  }));
  EXPECT_LE(failpoint::hits("worker.before_hello"), 10U);
  p.join();
  EXPECT_EQ(count_processes("troupe-w"), 0);
}

// B03, B06
TEST_P(FaultAtStage, AWorkerThatIsNeverReadyEndsInATimeout) {
  for (const char* where : {"worker.forked", "worker.before_hello", "worker.initializer"}) {
    for (const action how : {action::hang, action::stop}) {
      SCOPED_TRACE(std::string{where} + " " + std::to_string(static_cast<int>(how)));
      arm(where, how, 2);
      pool_options slow = crew_of();
      slow.start_timeout = 300ms;  // others that are late on a loaded machine change nothing
      EXPECT_TRUE(fails_with(errc::start_timeout, [&] { return pool{slow}; }));
      EXPECT_TRUE(eventually([&] { return count_processes("troupe-w") == 0; }));
    }
  }
}

void refuse_to_begin() {
  throw std::domain_error{"no licence"};
}
void exit_at_once(int code) {
  ::_exit(code);
}

// B04
TEST_P(FaultAtStage, AnInitializerThatAlwaysFailsIsTheConstructorsError) {
  arm("worker.before_hello", action::none);  // counts
  pool_options failing = crew_of();
  failing.initializer = call(refuse_to_begin);
  EXPECT_THROW(pool{failing}, std::domain_error);
  failing.initializer = call(crash_at_once, SIGSEGV);
  EXPECT_TRUE(fails_with(errc::spawn_failed, [&] { return pool{failing}; }));
  failing.initializer = call(exit_at_once, 0);
  EXPECT_TRUE(fails_with(errc::spawn_failed, [&] { return pool{failing}; }));
  EXPECT_LE(failpoint::hits("worker.before_hello"), 3U * crew);
}

void begin_unless_told(const std::string& gate) {
  if (marks(gate) > 0) {
    throw std::domain_error{"no licence any more"};
  }
}

// B04
TEST_P(FaultAtStage, AnInitializerThatFailsInReplacementsBreaksThePool) {
  const std::string gate = fresh_file();
  pool_options fragile = crew_of();
  fragile.initializer = call(begin_unless_told, gate);
  pool p{fragile};
  mark(gate);
  EXPECT_EQ(outcome_of(p.apply_async(crash_at_once, SIGKILL)), ended::lost);
  EXPECT_TRUE(eventually([&] {
    try {
      p.apply(square, 2);
      return false;
    } catch (const pool_broken& broken) {
      EXPECT_NE(std::string{broken.what()}.find("no licence"), std::string::npos) << broken.what();
      return true;
    }
  }));
}

// ---- between the stations of a task -------------------------------------------------------------

// B07: tasks in the ring of a worker that dies without having looked at them run elsewhere.
TEST_P(FaultAtStage, TasksThatHadNotBegunRunElsewhere) {
  twice([&] {
    pool p{crew_of()};
    const auto before = p.workers();
    for (const worker_info& worker : before) {
      ::kill(static_cast<pid_t>(worker.pid), SIGSTOP);
    }
    ASSERT_TRUE(eventually([&] { return count_processes("troupe-w", 'T') == crew; }));
    std::vector<future<int>> waiting;
    const std::vector<char> large(std::size_t{4} << 20, 'x');
    std::vector<future<std::size_t>> large_ones;
    for (int i = 0; i < 100; ++i) {
      waiting.push_back(p.apply_async(square, i));
    }
    for (int i = 0; i < crew; ++i) {
      large_ones.push_back(p.apply_async(size_of, large));
    }
    for (const worker_info& worker : before) {
      ::kill(static_cast<pid_t>(worker.pid), SIGKILL);
    }
    for (int i = 0; i < 100; ++i) {
      EXPECT_EQ(waiting[static_cast<std::size_t>(i)].get(), i * i);
    }
    for (const auto& one : large_ones) {
      EXPECT_EQ(one.get(), large.size());
    }
    EXPECT_EQ(p.stats().failed, 0U);
    EXPECT_TRUE(eventually([&] { return p.stats().deaths == crew; }));
    expect_whole(p);
  });
}

// B07, B11, B13 and the stations between: the worker ends right there, at its second pass.
TEST_P(FaultAtStage, AtEveryStationExactlyTheTaskThatHadBegunIsLost) {
  for (const char* where : {"worker.claimed", "worker.ran", "worker.result_half_written"}) {
    for (const auto& [how, status] : {std::pair{action::kill, exit_status{killed_by{SIGKILL}}},
                                      std::pair{action::segv, exit_status{killed_by{SIGSEGV}}},
                                      std::pair{action::exit_zero, exit_status{exited{0}}}}) {
      SCOPED_TRACE(std::string{where} + " " + std::to_string(static_cast<int>(how)));
      pool p{crew_of()};
      arm(where, how, 20);
      std::vector<future<int>> all;
      for (int i = 0; i < 200; ++i) {
        all.push_back(p.apply_async(square, i));
      }
      int lost = 0;
      for (int i = 0; i < 200; ++i) {
        const auto& one = all[static_cast<std::size_t>(i)];
        one.wait();
        if (one.successful()) {
          EXPECT_EQ(one.get(), i * i);
        } else {
          ++lost;
          EXPECT_TRUE(is_lost(one, status));
        }
      }
      EXPECT_EQ(lost, 1);
      EXPECT_TRUE(eventually([&] { return p.stats().deaths == 1; }));
      expect_whole(p);
    }
  }
}

// B13
TEST_P(FaultAtStage, AResultWhoseWorkerDiesRightAfterItCounts) {
  for (const action how : {action::kill, action::segv, action::exit_zero}) {
    SCOPED_TRACE(static_cast<int>(how));
    pool p{crew_of()};
    arm("worker.sent", how, 20, 5);
    std::vector<future<int>> all;
    for (int i = 0; i < 200; ++i) {
      all.push_back(p.apply_async(square, i));
    }
    for (int i = 0; i < 200; ++i) {
      EXPECT_EQ(all[static_cast<std::size_t>(i)].get(), i * i);
    }
    EXPECT_TRUE(eventually([&] { return p.stats().deaths == 5; }));
    EXPECT_EQ(p.stats().failed, 0U);
    expect_whole(p);
  }
}

// B07, B13 with retries: nothing at all is lost.
TEST_P(FaultAtStage, WithRetriesEveryTaskHasAValueWhereverWorkersDie) {
  for (const char* where :
       {"worker.claimed", "worker.ran", "worker.result_half_written", "worker.sent"}) {
    SCOPED_TRACE(where);
    pool p{crew_of()};
    arm(where, action::kill, 10, 3);
    const auto squares = p.with({.retries = 3}).map(square, std::views::iota(0, 300), {.chunk = 7});
    for (int i = 0; i < 300; ++i) {
      EXPECT_EQ(squares[static_cast<std::size_t>(i)], i * i);
    }
    EXPECT_TRUE(eventually([&] { return p.stats().deaths == 3; }));
    EXPECT_EQ(p.stats().retried, std::string_view{where} == "worker.sent" ? 0U : 3U);
    expect_whole(p);
  }
}

// ---- while a value is encoded or decoded --------------------------------------------------------

enum class trouble : std::uint8_t { none, exception, kill, exit, stop };

void make(trouble which) {
  switch (which) {
    case trouble::none:
      break;
    case trouble::exception:
      throw std::runtime_error{"the value does not like it"};
    case trouble::kill:
      ::raise(SIGKILL);
      break;
    case trouble::exit:
      ::_exit(3);
    case trouble::stop:
      ::raise(SIGSTOP);
      break;
  }
}

/// Makes trouble where it is read or written: in a worker, or in the program.
struct delicate {
  trouble reading_in_worker = trouble::none;
  trouble writing_in_worker = trouble::none;
  trouble reading_here = trouble::none;
  std::vector<char> bulk;

  template <class Archive>
  void save(Archive& ar) const {
    ar(reading_in_worker, writing_in_worker, reading_here);
    // Before and after the trouble there are bytes: it comes half-way through the value.
    ar(bulk);
    if (this_process::is_worker()) {
      make(writing_in_worker);
    }
    ar(bulk);
  }
  template <class Archive>
  void load(Archive& ar) {
    ar(reading_in_worker, writing_in_worker, reading_here);
    ar(bulk);
    make(this_process::is_worker() ? reading_in_worker : reading_here);
    ar(bulk);
  }
};

int take(const delicate& /*value*/) {
  return 1;
}
delicate give(trouble writing, trouble reading, std::size_t bytes) {
  return {trouble::none, writing, reading, std::vector<char>(bytes, 'x')};
}

constexpr std::size_t sizes[] = {10, std::size_t{16} << 20};

// B08
TEST_P(FaultAtStage, AnArgumentThatCannotBeDecoded) {
  twice([&] {
    for (const std::size_t bytes : sizes) {
      SCOPED_TRACE(bytes);
      pool p{crew_of()};
      bystanders others{p, fresh_file(), fresh_file()};
      const auto with = [&](trouble what) {
        return delicate{what, trouble::none, trouble::none, std::vector<char>(bytes, 'x')};
      };
      const auto before = p.workers();
      EXPECT_TRUE(fails_with(errc::argument_decode_failed,
                             [&] { return p.apply(take, with(trouble::exception)); }));
      EXPECT_EQ(p.workers(), before);
      EXPECT_TRUE(is_lost(p.apply_async(take, with(trouble::kill)), killed_by{SIGKILL}));
      EXPECT_TRUE(is_lost(p.apply_async(take, with(trouble::exit)), exited{3}));
      EXPECT_EQ(
          outcome_of(
              p.with({.timeout = 50ms, .grace = 10ms}).apply_async(take, with(trouble::stop))),
          ended::timeout);
      EXPECT_EQ(p.apply(take, with(trouble::none)), 1);
      others.expect_success();
      expect_whole(p);
    }
  });
}

// B10, B11
TEST_P(FaultAtStage, AResultThatCannotBeEncoded) {
  twice([&] {
    for (const std::size_t bytes : sizes) {
      SCOPED_TRACE(bytes);
      pool p{crew_of()};
      bystanders others{p, fresh_file(), fresh_file()};
      const auto before = p.workers();
      EXPECT_TRUE(fails_with(errc::result_encode_failed, [&] {
        return p.apply(give, trouble::exception, trouble::none, bytes);
      }));
      EXPECT_EQ(p.workers(), before);
      EXPECT_TRUE(
          is_lost(p.apply_async(give, trouble::kill, trouble::none, bytes), killed_by{SIGKILL}));
      EXPECT_TRUE(is_lost(p.apply_async(give, trouble::exit, trouble::none, bytes), exited{3}));
      EXPECT_EQ(outcome_of(p.with({.timeout = 50ms, .grace = 10ms})
                               .apply_async(give, trouble::stop, trouble::none, bytes)),
                ended::timeout);
      EXPECT_EQ(p.apply(give, trouble::none, trouble::none, bytes).bulk.size(), bytes);
      others.expect_success();
      expect_whole(p);
    }
  });
}

// B14
TEST_P(FaultAtStage, AResultThatCannotBeDecodedHere) {
  twice([&] {
    for (const std::size_t bytes : sizes) {
      SCOPED_TRACE(bytes);
      pool p{crew_of()};
      bystanders others{p, fresh_file(), fresh_file()};
      const auto before = p.workers();
      const auto result = p.apply_async(give, trouble::none, trouble::exception, bytes);
      EXPECT_TRUE(fails_with(errc::result_decode_failed, [&] { return result.get(); }));
      EXPECT_TRUE(fails_with(errc::result_decode_failed, [&] { return result.get(); }));
      EXPECT_EQ(p.workers(), before);
      others.expect_success();
      EXPECT_EQ(p.stats().deaths, 0U);
      expect_whole(p);
    }
  });
}

// ---- at other times -----------------------------------------------------------------------------

// B15
TEST_P(FaultAtStage, AWorkerKilledWhileIdleIsReplacedInSilence) {
  pool p{crew_of()};
  for (std::uint64_t round = 1; round <= 5; ++round) {
    const worker_info victim = p.workers().front();
    ::kill(static_cast<pid_t>(victim.pid), SIGKILL);
    EXPECT_TRUE(eventually([&] {
      const auto now = p.workers();
      return now.size() == crew && std::ranges::find(now, victim) == now.end();
    }));
    EXPECT_EQ(p.apply(square, 7), 49);
    EXPECT_EQ(p.stats().deaths, round);
  }
  EXPECT_EQ(p.stats().failed, 0U);
  expect_whole(p);
}

// B28: the workers of a fork server die with it, by design.
TEST_P(FaultAtStage, AKilledForkServerIsReplaced) {
  pool p{crew_of()};
  ASSERT_EQ(fork_servers().size(), 1U);
  const int old_server = fork_servers().front();
  // Forked from the program itself, workers need no server, so that no new one comes.
  const int rounds = GetParam() == start_method::fork ? 1 : 3;
  for (int round = 0; round < rounds; ++round) {
    const std::string running = fresh_file();
    const std::string gate = fresh_file();
    std::vector<future<int>> tasks;
    for (int i = 0; i < crew; ++i) {
      tasks.push_back(p.apply_async(wait_at, running, gate));
    }
    ASSERT_TRUE(eventually([&] { return marks(running) == crew; }));
    for (int i = 0; i < 20; ++i) {
      tasks.push_back(p.apply_async(square, i));
    }
    const int victim = fork_servers().front();
    ::kill(victim, SIGKILL);
    ASSERT_TRUE(eventually([&] { return !is_alive(victim); }));
    mark(gate);
    for (std::size_t i = 0; i < tasks.size(); ++i) {
      const ended how = outcome_of(tasks[i]);
      if (GetParam() == start_method::fork || i >= crew) {
        EXPECT_EQ(how, ended::value) << i;
      } else {
        EXPECT_EQ(how, ended::lost) << i;
      }
    }
    if (GetParam() != start_method::fork) {
      expect_whole(p);
    }
  }
  EXPECT_FALSE(is_alive(old_server));
  pool_options of_the_server = crew_of();
  of_the_server.start = start_method::forkserver;
  pool other{of_the_server};
  EXPECT_EQ(other.apply(square, 3), 9);
  adopt_fork_server();
}

// B31
TEST_P(FaultAtStage, RecyclingLosesNothingWhenWorkersDieBetweenTheirLastResultAndTheirEnd) {
  pool_options recycling = crew_of();
  recycling.max_tasks_per_worker = 3;
  pool p{recycling};
  arm("worker.sent", action::kill, 5, 10);
  arm("worker.before_hello", action::kill, 4, 2);
  const auto squares = p.map(square, std::views::iota(0, 200));
  for (int i = 0; i < 200; ++i) {
    EXPECT_EQ(squares[static_cast<std::size_t>(i)], i * i);
  }
  EXPECT_EQ(p.stats().failed, 0U);
  EXPECT_TRUE(eventually([&] { return p.stats().recycled > 0; }));
  failpoint::reset();
  EXPECT_TRUE(eventually([&] { return p.workers().size() == crew; }));
  EXPECT_EQ(p.apply(square, 5), 25);
}

// B33
TEST_P(FaultAtStage, WorkersThatDieWhileThePoolEndsHoldNothingUp) {
  enum class end { close, terminate, destructor };
  for (const end how : {end::close, end::terminate, end::destructor}) {
    for (const char* where : {"worker.claimed", "worker.result_half_written", "worker.sent"}) {
      SCOPED_TRACE(std::string{where} + " " + std::to_string(static_cast<int>(how)));
      arm(where, action::kill, 20, 6);
      std::vector<future<int>> all;
      {
        pool p{crew_of()};
        for (int i = 0; i < 200; ++i) {
          all.push_back(p.apply_async(square, i));
        }
        if (how == end::close) {
          p.close();
          p.join();
        } else if (how == end::terminate) {
          p.terminate();
          p.join();
        }
      }
      for (int i = 0; i < 200; ++i) {
        const auto& one = all[static_cast<std::size_t>(i)];
        ASSERT_TRUE(one.ready()) << i;
        switch (outcome_of(one)) {
          case ended::value:
            EXPECT_EQ(one.get(), i * i);
            break;
          case ended::lost:
            break;
          case ended::cancelled:
            EXPECT_NE(how, end::close) << i;
            break;
          default:
            ADD_FAILURE() << i << " ended otherwise";
        }
      }
      failpoint::reset();
    }
  }
}

// B33
TEST_P(FaultAtStage, AllWorkersKilledDuringCloseAreReplacedUntilTheWorkIsDone) {
  pool p{crew_of()};
  const std::string pids = fresh_file();
  std::vector<future<int>> stay;
  std::vector<future<int>> rest;
  for (int i = 0; i < crew; ++i) {
    stay.push_back(p.apply_async(report_and_stay, pids));
  }
  ASSERT_TRUE(eventually([&] { return reported(pids).size() == crew; }));
  for (int i = 0; i < 50; ++i) {
    rest.push_back(p.apply_async(square, i));
  }
  p.close();
  for (const int pid : reported(pids)) {
    ::kill(pid, SIGKILL);
  }
  p.join();
  for (const auto& one : stay) {
    EXPECT_TRUE(is_lost(one, killed_by{SIGKILL}));
  }
  for (int i = 0; i < 50; ++i) {
    EXPECT_EQ(rest[static_cast<std::size_t>(i)].get(), i * i);
  }
}

}  // namespace
}  // namespace troupe::test
