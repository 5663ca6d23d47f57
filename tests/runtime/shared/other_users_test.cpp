// SPDX-License-Identifier: BSD-3-Clause
// Names that another user of the machine has taken first, and doors that another user knocks at.
// Only root can become another user, so these tests are skipped for other users.
#include "troupe/detail/descriptor.hpp"
#include "troupe/listener.hpp"
#include "troupe/shared_memory.hpp"

#include "shared_fixture.hpp"
#include "support/fails_with.hpp"
#include "support/temp_dir.hpp"
#include "support/unique_name.hpp"

#include <gtest/gtest.h>

#include <fcntl.h>
#include <grp.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstddef>
#include <filesystem>
#include <future>
#include <string>
#include <system_error>

namespace troupe {
namespace {

using namespace std::chrono_literals;
using detail::descriptor;
using test::fails_with;
using test::forked;
using test::signpost;

constexpr uid_t other_user = 65534;
/// For children: it could not become the other user.
constexpr int not_permitted = 77;

class OtherUsers : public test::shared_objects {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) {
      GTEST_SKIP() << "only root can become another user";
    }
    forked probe{[] { return become_another_user() ? 0 : not_permitted; }};
    if (probe.wait() != 0) {
      GTEST_SKIP() << "this root may not become another user";
    }
    // A folder as /tmp is: any user may make files in it, and remove only their own.
    ASSERT_EQ(::chmod(folder_.path().c_str(), 01777), 0);
  }

  static bool become_another_user() {
    return ::setgroups(0, nullptr) == 0 && ::setgid(other_user) == 0 && ::setuid(other_user) == 0;
  }
  /// A child that is another user when it runs `body`.
  template <class Body>
  static auto as_another_user(Body body) {
    return [body] { return become_another_user() ? body() : not_permitted; };
  }

  static descriptor raw_connect(const std::string& address) {
    descriptor made{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    sockaddr_un to{};
    to.sun_family = AF_UNIX;
    address.copy(to.sun_path, sizeof to.sun_path - 1);
    auto bytes = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + address.size() + 1);
    if (address.starts_with('@')) {
      to.sun_path[0] = '\0';
      --bytes;
    }
    if (::connect(made.number(), reinterpret_cast<const sockaddr*>(&to), bytes) != 0) {
      made.reset();
    }
    return made;
  }
  static std::string name_of(const std::string& what) { return test::unique_name("users-" + what); }
  /// A client of the same user still comes in.
  static void expect_works(listener& at, const connect_options& how = {}) {
    auto client = std::async(std::launch::async, [&] { return connect(at.address(), how); });
    connection here = at.accept();
    connection there = client.get();
    there.send(1);
    EXPECT_EQ(here.recv<int>(), 1);
  }

  test::temp_dir folder_;
};

TEST_F(OtherUsers, AreNotLetInAtAnAbstractNameWithoutAKey) {
  // There is no file here whose mode would keep them out.
  listener at{"@" + name_of("door")};
  forked client{as_another_user([&] {
    const descriptor socket = raw_connect(at.address());
    char any = 0;
    return socket && ::recv(socket.number(), &any, 1, 0) <= 0 ? 0 : 1;  // not even a challenge
  })};
  EXPECT_FALSE(at.accept_for(0s)) << "whether it has come already or not";
  std::optional<connection> let_in;
  EXPECT_TRUE(test::eventually([&] {
    let_in = at.accept_for(1ms);
    // Once the other one was sent away, it ends.
    siginfo_t info{};
    return let_in || (::waitid(P_PID, static_cast<id_t>(client.pid()), &info,
                               WEXITED | WNOHANG | WNOWAIT) == 0 &&
                      info.si_pid != 0);
  }));
  EXPECT_FALSE(let_in);
  EXPECT_EQ(client.wait(), 0);
  expect_works(at);
}

TEST_F(OtherUsers, CannotEvenKnockAtAPathWithoutAKey) {
  listener at{(folder_.path() / "door").string()};
  forked client{
      as_another_user([&] { return !raw_connect(at.address()) && errno == EACCES ? 0 : 1; })};
  EXPECT_EQ(client.wait(), 0);
  expect_works(at);
}

TEST_F(OtherUsers, ComeInWithTheKey) {
  listener at{"@" + name_of("key"), {.key = "k"}};
  forked client{as_another_user([&] {
    connect(at.address(), {.key = "k"}).send(5);
    return 0;
  })};
  EXPECT_EQ(at.accept().recv<int>(), 5);
  EXPECT_EQ(client.wait(), 0);
}

TEST_F(OtherUsers, ThatListenWhereWeConnectAreNotTalkedTo) {
  for (const std::string& address : {"@" + name_of("squat"), (folder_.path() / "squat").string()}) {
    SCOPED_TRACE(address);
    signpost ready;
    forked squatter{as_another_user([&] {
      const listener at{address};
      ready.reached();
      return test::sleep_until_killed();
    })};
    ready.await();
    try {
      static_cast<void>(connect(address));
      FAIL() << "it was talked to";
    } catch (const authentication_error& refused) {
      EXPECT_NE(std::string{refused.what()}.find("another user"), std::string::npos)
          << refused.what();
    }
    EXPECT_TRUE(fails_with(errc::address_in_use, [&] { return listener{address}.is_open(); }));
    squatter.kill();
  }
}

TEST_F(OtherUsers, CannotLeadAListenerElsewhereWithALink) {
  const std::string target = (folder_.path() / "target").string();
  const std::string path = (folder_.path() / "link").string();
  forked squatter{
      as_another_user([&] { return ::symlink(target.c_str(), path.c_str()) == 0 ? 0 : 1; })};
  ASSERT_EQ(squatter.wait(), 0);
  EXPECT_TRUE(fails_with(errc::address_in_use, [&] { return listener{path}.is_open(); }));
  EXPECT_FALSE(std::filesystem::exists(target));
  EXPECT_TRUE(std::filesystem::is_symlink(path)) << "not ours to remove";
}

TEST_F(OtherUsers, DoNotGetTheirMemoryOpenedUnderANameOfOurs) {
  const std::string name = name_of("memory");
  signpost ready;
  forked squatter{as_another_user([&] {
    ::umask(0);
    const shared_memory mine{100, {.name = name}};
    // Open to all, as one would leave it to be found.
    const int found = ::shm_open(("/" + name).c_str(), O_RDWR | O_CLOEXEC, 0);
    if (::fchmod(found, 0666) != 0) {
      return 1;
    }
    ready.reached();
    return test::sleep_until_killed();
  })};
  ready.await();
  // They could shrink it under us at any time, which would be a SIGBUS.
  try {
    static_cast<void>(shared_memory::open(name));
    ADD_FAILURE() << "another user's memory was opened";
  } catch (const std::system_error& refused) {
    EXPECT_EQ(refused.code(), std::errc::permission_denied) << refused.what();
  }
  EXPECT_THROW((shared_memory{100, {.name = name}}), std::system_error) << "the name is taken";
  squatter.kill();
  detail::remove_abandoned_blocks();
}

TEST_F(OtherUsers, CannotOpenMemoryOfOurs) {
  const std::string name = name_of("ours");
  const shared_memory mine{100, {.name = name}};
  forked other{as_another_user([&] {
    try {
      static_cast<void>(shared_memory::open(name));
    } catch (const std::system_error& refused) {
      return refused.code() == std::errc::permission_denied ? 0 : 2;
    }
    return 1;
  })};
  EXPECT_EQ(other.wait(), 0);
}

}  // namespace
}  // namespace troupe
