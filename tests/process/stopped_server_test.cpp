// SPDX-License-Identifier: BSD-3-Clause
// The fork server is stopped, by SIGSTOP or a debugger: what would wait for it ends with an error,
// and what does not need it goes on.
#include "troupe/process.hpp"

#include "fault_fixture.hpp"
#include "os/process_identity.hpp"

#include <signal.h>

#include <algorithm>
#include <cstddef>
#include <optional>
#include <string>
#include <vector>

namespace troupe::test {
namespace {

struct StoppedServer : pool_test {
  StoppedServer() {
    set_log_hook([](log_level, std::string_view) {});  // it is told in the log, too
    pool p{options()};
    p.apply(square, 1);  // what the first use sets up stays
  }
  ~StoppedServer() override {
    for (const int pid : fork_servers()) {
      ::kill(pid, SIGCONT);
      ignore_process(pid);  // another one, if the first was killed
    }
    set_log_hook({});
  }

  static pool_options options(int workers = 1) {
    pool_options made;
    made.workers = workers;
    made.grace = 100ms;
    return made;
  }
  static int stop() {
    EXPECT_EQ(fork_servers().size(), 1U);
    const int server = fork_servers().front();
    ::kill(server, SIGSTOP);
    EXPECT_TRUE(eventually([&] { return detail::is_stopped(server); }));
    return server;
  }
};

[[nodiscard]] std::ptrdiff_t count_workers() {
  return std::ranges::count_if(our_processes(), [](const process_entry& process) {
    return process.name.starts_with("troupe-w");
  });
}

TEST_F(StoppedServer, StartsNothingAndSaysSo) {
  pool old{options()};
  const int server = stop();
  try {
    const pool refused{options(2)};
    ADD_FAILURE() << "it was made";
  } catch (const error& why) {
    EXPECT_EQ(why.code(), errc::spawn_failed) << why.what();
    EXPECT_NE(std::string{why.what()}.find("is stopped"), std::string::npos) << why.what();
  }
  process refused{[] {}};
  EXPECT_TRUE(fails_with(errc::spawn_failed, [&] { refused.start(); }));
  EXPECT_EQ(old.apply(square, 3), 9);
  ::kill(server, SIGCONT);
  pool next{options(2)};
  EXPECT_EQ(next.apply(square, 4), 16);
  refused.start();
  refused.join();
  EXPECT_EQ(fork_servers(), std::vector{server}) << "it was not killed";
  EXPECT_TRUE(eventually([] { return count_workers() == 3; })) << "what was launched late stays";
}

TEST_F(StoppedServer, IsNotWaitedForByTheEndOfAPool) {
  std::optional<pool> p{options(2)};
  auto runs = p->apply_async(wait_at, file("running"), file("gate"));
  ASSERT_TRUE(eventually([&] { return marks(file("running")) > 0; }));
  const int server = stop();
  p.reset();
  EXPECT_TRUE(runs.ready());
  EXPECT_TRUE(eventually([&] { return !is_alive(server); }));
  EXPECT_TRUE(eventually([] { return count_workers() == 0; }));
  pool next{options()};
  EXPECT_EQ(next.apply(square, 3), 9);
}

}  // namespace
}  // namespace troupe::test
