// SPDX-License-Identifier: BSD-3-Clause
#include "troupe/listener.hpp"

#include "troupe/detail/descriptor.hpp"
#include "troupe/wait_readable.hpp"

#include "os/failpoint.hpp"
#include "support/eventually.hpp"
#include "support/fails_with.hpp"
#include "support/forked.hpp"
#include "support/no_descriptors.hpp"
#include "support/no_leaks.hpp"
#include "support/sleeper.hpp"
#include "support/temp_dir.hpp"

#include <gtest/gtest.h>

#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <deque>
#include <exception>
#include <filesystem>
#include <fstream>
#include <future>
#include <optional>
#include <random>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

namespace troupe {
namespace {

using namespace std::chrono_literals;
using clock = std::chrono::steady_clock;
using detail::descriptor;
using test::fails_with;
using test::forked;
using test::signpost;

class Listener : public test::no_leaks {
 protected:
  test::temp_dir folder_;
  std::string path_ = (folder_.path() / "x.sock").string();

  /// A socket that is connected to `path_` and speaks nothing by itself.
  [[nodiscard]] descriptor raw_client() const {
    descriptor made{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    sockaddr_un to{};
    to.sun_family = AF_UNIX;
    std::strncpy(to.sun_path, path_.c_str(), sizeof to.sun_path - 1);
    EXPECT_EQ(::connect(made.number(), reinterpret_cast<const sockaddr*>(&to), sizeof to), 0);
    return made;
  }

  static void talk(connection& a, connection& b) {
    a.send(std::string{"ping"});
    EXPECT_EQ(b.recv<std::string>(), "ping");
    b.send(2);
    EXPECT_EQ(a.recv<int>(), 2);
  }

  // Before the first look at what is there: the table stays for good.
  static inline const bool has_failpoints_ = (detail::failpoint::reset(), true);

  /// One client connects while the listener accepts it.
  static void meet(listener& at, const connect_options& options) {
    auto client = std::async(std::launch::async, [&] { return connect(at.address(), options); });
    connection here = at.accept();
    connection there = client.get();
    talk(here, there);
  }
};

TEST_F(Listener, LetsClientsInAtAPath) {
  listener at{path_};
  EXPECT_EQ(at.address(), path_);
  meet(at, {});
  meet(at, {});
}

TEST_F(Listener, LetsClientsInAtAnAbstractName) {
  listener at{"@troupe-listener-test-" + std::to_string(::getpid())};
  meet(at, {});
  EXPECT_TRUE(fails_with(errc::address_in_use, [&] { return listener{at.address()}.is_open(); }));
}

TEST_F(Listener, LetsClientsInOverTcpWithAKey) {
  for (const char* address : {"127.0.0.1:0", "localhost:0"}) {
    listener at{address, {.key = "secret"}};
    EXPECT_EQ(at.address().find(":0"), std::string::npos) << at.address() << " has no port";
    meet(at, {.key = "secret"});
    EXPECT_TRUE(fails_with(errc::address_in_use,
                           [&] { return listener{at.address(), {.key = "other"}}.is_open(); }));
  }
}

TEST_F(Listener, TcpNeedsAKeyAndStaysOnTheLoopbackUnlessTold) {
  EXPECT_THROW(listener{"127.0.0.1:0"}, std::invalid_argument);
  EXPECT_THROW(static_cast<void>(connect("127.0.0.1:1")), std::invalid_argument);
  EXPECT_THROW((listener{"0.0.0.0:0", {.key = "k"}}), std::invalid_argument);
  listener open{"0.0.0.0:0", {.key = "k", .allow_remote = true}};
  EXPECT_TRUE(open.is_open());
}

TEST_F(Listener, HandlesOfSharedObjectsDoNotCrossOverTcp) {
  listener at{"127.0.0.1:0", {.key = "k"}};
  auto client = std::async(std::launch::async, [&] { return connect(at.address(), {.key = "k"}); });
  connection here = at.accept();
  connection there = client.get();
  auto [a, b] = pipe();
  EXPECT_TRUE(fails_with(errc::argument_encode_failed, [&] {
    here.send(a);
    return 0;
  }));
  EXPECT_TRUE(fails_with(errc::argument_encode_failed, [&] {
    here.send_descriptor(0);
    return 0;
  }));
  talk(here, there);
}

TEST_F(Listener, AConnectionOverTcpCrossesThroughAPipe) {
  listener at{"127.0.0.1:0", {.key = "k"}};
  auto client = std::async(std::launch::async, [&] { return connect(at.address(), {.key = "k"}); });
  connection here = at.accept();
  connection there = client.get();
  auto [a, b] = pipe();
  a.send(here);
  here.close();
  auto moved = b.recv<connection>();
  talk(moved, there);
}

TEST_F(Listener, MovesLargeMessages) {
  for (const std::string& address : {path_, std::string{"127.0.0.1:0"}}) {
    listener at{address, {.key = "k"}};
    auto client =
        std::async(std::launch::async, [&] { return connect(at.address(), {.key = "k"}); });
    connection here = at.accept();
    connection there = client.get();
    const std::string text(std::size_t{20} << 20, 'x');
    const std::jthread sender{[&] { there.send(text); }};
    EXPECT_TRUE(here.recv<std::string>() == text);
  }
}

TEST_F(Listener, AWrongKeyIsAnErrorOnBothSides) {
  listener at{path_, {.key = "right"}};
  for (const connect_options& wrong :
       {connect_options{.key = "wrong"}, connect_options{.key = ""}, connect_options{}}) {
    auto client = std::async(std::launch::async, [&] { return connect(path_, wrong); });
    EXPECT_THROW(static_cast<void>(at.accept()), authentication_error);
    EXPECT_THROW(static_cast<void>(client.get()), authentication_error);
  }
  meet(at, {.key = "right"});
}

TEST_F(Listener, AnEmptyKeyIsAKey) {
  listener at{path_, {.key = ""}};
  auto client = std::async(std::launch::async, [&] { return connect(path_, {.key = "x"}); });
  EXPECT_THROW(static_cast<void>(at.accept()), authentication_error);
  EXPECT_THROW(static_cast<void>(client.get()), authentication_error);
  meet(at, {.key = ""});
}

TEST_F(Listener, AClientWithAKeyDoesNotTrustAListenerWithout) {
  listener at{path_};
  auto client = std::async(std::launch::async, [&] { return connect(path_, {.key = "x"}); });
  EXPECT_THROW(static_cast<void>(at.accept()), authentication_error);
  EXPECT_THROW(static_cast<void>(client.get()), authentication_error);
}

TEST_F(Listener, SilentClientsDoNotHoldUpOthers) {
  listener at{path_, {.key = "k"}};
  std::vector<descriptor> silent;
  for (int i = 0; i < 20; ++i) {
    silent.push_back(raw_client());
    ASSERT_EQ(::send(silent.back().number(), "troupe", 6, MSG_NOSIGNAL), 6) << "begins, then waits";
    meet(at, {.key = "k"});
  }
}

TEST_F(Listener, DropsASilentClientAfterItsTime) {
  listener at{path_, {.handshake_timeout = 30ms}};
  const descriptor silent = raw_client();
  EXPECT_FALSE(at.accept_for(200ms));
  std::array<char, 100> buffer{};
  EXPECT_EQ(::recv(silent.number(), buffer.data(), buffer.size(), 0), 80) << "the greeting";
  EXPECT_EQ(::recv(silent.number(), buffer.data(), buffer.size(), 0), 0) << "and the end";
  meet(at, {});
}

TEST_F(Listener, CannotBeHeldUpByManyEither) {
  listener at{path_, {.backlog = 500}};
  std::vector<descriptor> silent;
  for (int i = 0; i < 400; ++i) {
    silent.push_back(raw_client());
  }
  meet(at, {});
}

TEST_F(Listener, ForeignBytesAreDropped) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::minstd_rand random{seed};
  listener at{path_, {.key = "k"}};
  for (int round = 0; round < 100; ++round) {
    const descriptor client = raw_client();
    std::string bytes = random() % 2 == 0 ? "" : "troupeC2";
    for (auto n = random() % 60; n > 0; --n) {
      bytes += static_cast<char>(random());
    }
    static_cast<void>(::send(client.number(), bytes.data(), bytes.size(), MSG_NOSIGNAL));
    if (random() % 2 == 0) {
      ::shutdown(client.number(), SHUT_WR);
    }
    EXPECT_FALSE(at.accept_for(0s)) << "a client was let in";
  }
  meet(at, {.key = "k"});
}

TEST_F(Listener, AReflectedProofProvesNothing) {
  // A "listener" without the key that lets the client talk to itself: it opens a connection to a
  // real listener with the same key, but proofs name the role they were made for.
  listener real{path_, {.key = "k"}};
  const descriptor thief = raw_client();
  const std::jthread accepting{
      [&] { EXPECT_THROW(static_cast<void>(real.accept()), authentication_error); }};
  std::array<std::byte, 112> answer{};
  ASSERT_EQ(::recv(thief.number(), answer.data(), 80, MSG_WAITALL), 80);
  // The same challenge back, with nothing better than zeros for a proof.
  ASSERT_EQ(::send(thief.number(), answer.data(), answer.size(), MSG_NOSIGNAL), 112);
  std::array<std::byte, 40> verdict{};
  ASSERT_EQ(::recv(thief.number(), verdict.data(), verdict.size(), MSG_WAITALL), 40);
  EXPECT_EQ(verdict[0], std::byte{2});
  for (std::size_t i = 1; i < verdict.size(); ++i) {
    EXPECT_EQ(verdict[i], std::byte{0}) << "the listener proved something to a stranger";
  }
}

/// A listening socket that speaks nothing by itself.
descriptor raw_listener(const std::string& path) {
  descriptor made{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
  sockaddr_un where{};
  where.sun_family = AF_UNIX;
  path.copy(where.sun_path, sizeof where.sun_path - 1);
  EXPECT_EQ(::bind(made.number(), reinterpret_cast<const sockaddr*>(&where), sizeof where), 0);
  EXPECT_EQ(::listen(made.number(), 1), 0);
  return made;
}

/// Passes everything on, both ways, until one of the two has ended.
void relay(const descriptor& one, const descriptor& other) {
  std::array<pollfd, 2> ends{pollfd{one.number(), POLLIN, 0}, pollfd{other.number(), POLLIN, 0}};
  for (;;) {
    ASSERT_GT(::poll(ends.data(), ends.size(), -1), 0);
    for (std::size_t from = 0; from < 2; ++from) {
      std::array<char, 4096> bytes{};
      if (ends.at(from).revents == 0) {
        continue;
      }
      const ssize_t came = ::recv(ends.at(from).fd, bytes.data(), bytes.size(), 0);
      if (came <= 0 || ::send(ends.at(1 - from).fd, bytes.data(), static_cast<std::size_t>(came),
                              MSG_NOSIGNAL) != came) {
        return;
      }
    }
  }
}

TEST_F(Listener, NoSideIsLetInThroughAnotherOne) {
  // Without the key, in between an honest client and an honest listener: it passes on their proofs,
  // and would go on in the client's name.
  listener at{path_, {.key = "k"}};
  const std::string front = path_ + ".front";
  const descriptor door = raw_listener(front);
  auto client = std::async(std::launch::async, [&] { return connect(front, {.key = "k"}); });
  const std::jthread between{[&] {
    const descriptor victim{::accept(door.number(), nullptr, nullptr)};
    relay(victim, raw_client());
  }};
  EXPECT_THROW(static_cast<void>(at.accept()), authentication_error);
  EXPECT_THROW(static_cast<void>(client.get()), authentication_error);
  meet(at, {.key = "k"});
}

/// Exits with 77 if it may not do what it must.
int relay_with_the_same_names(const std::string& path, const signpost& ready) {
  // In another network namespace the client's name is free, and the listener's is where it was when
  // the listener has been moved away.
  if (::unshare(CLONE_NEWNET) != 0) {
    ready.reached();
    return 77;
  }
  std::filesystem::rename(path, path + ".moved");
  const descriptor door = raw_listener(path);
  ready.reached();
  const descriptor victim{::accept(door.number(), nullptr, nullptr)};
  sockaddr_un name{};
  socklen_t bytes = sizeof name;
  const descriptor to_listener{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
  if (::getpeername(victim.number(), reinterpret_cast<sockaddr*>(&name), &bytes) != 0 ||
      ::bind(to_listener.number(), reinterpret_cast<const sockaddr*>(&name), bytes) != 0) {
    return 1;
  }
  sockaddr_un to{};
  to.sun_family = AF_UNIX;
  (path + ".moved").copy(to.sun_path, sizeof to.sun_path - 1);
  if (::connect(to_listener.number(), reinterpret_cast<const sockaddr*>(&to), sizeof to) != 0) {
    return 2;
  }
  relay(victim, to_listener);
  return 0;
}

TEST_F(Listener, AProcessInBetweenWithTheSameNamesIsAnotherProcess) {
  listener at{path_, {.key = "k"}};
  signpost ready;
  forked between{[&] { return relay_with_the_same_names(path_, ready); }};
  ready.await();
  if (std::filesystem::exists(path_ + ".moved")) {
    auto client = std::async(std::launch::async, [&] { return connect(path_, {.key = "k"}); });
    EXPECT_THROW(static_cast<void>(at.accept()), authentication_error);
    EXPECT_THROW(static_cast<void>(client.get()), authentication_error);
  }
  if (const int code = between.wait(); code != 0) {
    ASSERT_EQ(code, 77);
    GTEST_SKIP() << "this process may not make a network namespace";
  }
}

TEST_F(Listener, TheEarlierHandshakeIsRefused) {
  listener at{path_, {.key = "k"}};
  const descriptor client = raw_client();
  std::string answer = "troupeC1\1";
  answer.resize(112, '\0');
  ASSERT_EQ(::send(client.number(), answer.data(), answer.size(), MSG_NOSIGNAL), 112);
  EXPECT_FALSE(at.accept_for(50ms));
  // A listener of before: its greeting was shorter, and its proof bound to nothing.
  const std::string front = path_ + ".front";
  const descriptor door = raw_listener(front);
  auto honest = std::async(std::launch::async, [&] { return connect(front, {.key = "k"}); });
  const descriptor peer{::accept(door.number(), nullptr, nullptr)};
  std::string greeting = "troupeC1\1";
  greeting.resize(48, '\0');
  ASSERT_EQ(::send(peer.number(), greeting.data(), greeting.size(), MSG_NOSIGNAL), 48);
  EXPECT_TRUE(fails_with(errc::protocol_error, [&] { return honest.get(); }));
}

TEST_F(Listener, IsRefusedInAChildThatWasForkedWithItAndGoesOnInItsOwnProcess) {
  listener at{path_, {.key = "k"}};
  forked child{[&] {
    const bool refused =
        fails_with(errc::wrong_state, [&] { static_cast<void>(at.accept()); }) &&
        fails_with(errc::wrong_state, [&] { static_cast<void>(at.accept_for(0ms)); });
    at.close();
    return refused ? 0 : 1;
  }};
  EXPECT_EQ(child.wait(), 0);
  forked client{[&] {
    connection there = connect(path_, {.key = "k"});
    there.send(1);
    return there.recv<int>() == 2 ? 0 : 1;
  }};
  connection here = at.accept();
  here.send(here.recv<int>() + 1);
  EXPECT_EQ(client.wait(), 0);
}

TEST_F(Listener, AClientGivesUpOnASilentListener) {
  const descriptor mute{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
  sockaddr_un where{};
  where.sun_family = AF_UNIX;
  std::strncpy(where.sun_path, path_.c_str(), sizeof where.sun_path - 1);
  ASSERT_EQ(::bind(mute.number(), reinterpret_cast<const sockaddr*>(&where), sizeof where), 0);
  ASSERT_EQ(::listen(mute.number(), 0), 0);
  const auto before = clock::now();
  EXPECT_THROW(static_cast<void>(connect(path_, {.timeout = 30ms})), timeout_error);
  EXPECT_GE(clock::now() - before, 30ms);
  // The backlog is full by now or soon: still the deadline counts.
  EXPECT_THROW(static_cast<void>(connect(path_, {.timeout = 30ms})), timeout_error);
  EXPECT_THROW(static_cast<void>(connect(path_, {.timeout = 30ms})), timeout_error);
}

/// Sends `text` byte by byte, with a pause behind each. False: the peer has left.
bool dribble(const descriptor& to, std::string_view text) {
  for (const char c : text) {
    pollfd left{to.number(), POLLRDHUP, 0};
    if (::send(to.number(), &c, 1, MSG_NOSIGNAL) != 1 || ::poll(&left, 1, 5) != 0) {
      return false;
    }
  }
  return true;
}

TEST_F(Listener, AClientsTimeIsForTheWholeHandshakeHoweverSlowlyItComes) {
  const descriptor slow{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
  sockaddr_un where{};
  where.sun_family = AF_UNIX;
  std::strncpy(where.sun_path, path_.c_str(), sizeof where.sun_path - 1);
  ASSERT_EQ(::bind(slow.number(), reinterpret_cast<const sockaddr*>(&where), sizeof where), 0);
  ASSERT_EQ(::listen(slow.number(), 1), 0);
  auto client = std::async(std::launch::async, [&] { return connect(path_, {.timeout = 50ms}); });
  const descriptor peer{::accept(slow.number(), nullptr, nullptr)};
  // All of it takes 600 ms at least, and no two bytes of it the client's time.
  std::string greeting = "troupeC2";
  greeting.resize(80, '\0');
  std::string verdict = "\1";
  verdict.resize(40, '\0');
  std::array<char, 112> answer{};
  if (dribble(peer, greeting) &&
      ::recv(peer.number(), answer.data(), answer.size(), MSG_WAITALL) == 112) {
    static_cast<void>(dribble(peer, verdict));
  }
  EXPECT_THROW(static_cast<void>(client.get()), timeout_error);
}

TEST_F(Listener, AClientRefusesWhatIsNoListenerOfThisLibrary) {
  const descriptor other{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
  sockaddr_un where{};
  where.sun_family = AF_UNIX;
  std::strncpy(where.sun_path, path_.c_str(), sizeof where.sun_path - 1);
  ASSERT_EQ(::bind(other.number(), reinterpret_cast<const sockaddr*>(&where), sizeof where), 0);
  ASSERT_EQ(::listen(other.number(), 10), 0);
  for (const char* said : {"HTTP/1.1 400 Bad Request\r\n\r\n", ""}) {
    auto client = std::async(std::launch::async, [&] { return connect(path_); });
    const descriptor peer{::accept(other.number(), nullptr, nullptr)};
    static_cast<void>(::send(peer.number(), said, std::strlen(said), MSG_NOSIGNAL));
    ::shutdown(peer.number(), SHUT_WR);
    EXPECT_TRUE(fails_with(errc::protocol_error, [&] { return client.get(); }));
  }
  // Knows the protocol, and not the key.
  auto client = std::async(std::launch::async, [&] { return connect(path_, {.key = "k"}); });
  const descriptor peer{::accept(other.number(), nullptr, nullptr)};
  std::string greeting = "troupeC2\1";
  greeting.resize(80, '\0');
  ASSERT_EQ(::send(peer.number(), greeting.data(), greeting.size(), MSG_NOSIGNAL), 80);
  std::array<char, 112> answer{};
  ASSERT_EQ(::recv(peer.number(), answer.data(), answer.size(), MSG_WAITALL), 112);
  std::string verdict = "\1";
  verdict.resize(8, '\0');
  verdict.append(answer.data() + 80, 32);  // the client's own proof, reflected
  ASSERT_EQ(::send(peer.number(), verdict.data(), verdict.size(), MSG_NOSIGNAL), 40);
  EXPECT_THROW(static_cast<void>(client.get()), authentication_error);
}

TEST_F(Listener, TheAddressOfALivingListenerIsTaken) {
  const listener at{path_};
  EXPECT_TRUE(fails_with(errc::address_in_use, [&] { return listener{path_}.is_open(); }));
  EXPECT_TRUE(at.is_open());
  EXPECT_TRUE(std::filesystem::exists(path_));
}

TEST_F(Listener, TheSocketFileOfADeadOneIsReplaced) {
  forked child{[&] {
    const listener at{path_};
    ::kill(::getpid(), SIGKILL);
    return 0;
  }};
  EXPECT_EQ(child.wait(), 1000 + SIGKILL);
  ASSERT_TRUE(std::filesystem::exists(path_));
  listener at{path_};
  meet(at, {});
}

TEST_F(Listener, AFileThatIsNoSocketIsNotTouched) {
  std::ofstream{path_} << "precious";
  EXPECT_TRUE(fails_with(errc::address_in_use, [&] { return listener{path_}.is_open(); }));
  EXPECT_EQ(std::filesystem::file_size(path_), 8U);
}

TEST_F(Listener, OfManyThatWantAStalePathOneGetsIt) {
  for (int round = 0; round < 20; ++round) {
    forked child{[&] {
      const listener at{path_};
      ::kill(::getpid(), SIGKILL);
      return 0;
    }};
    child.wait();
    // Who wins holds the address till all have tried.
    auto [here, there] = pipe();
    std::deque<forked> rivals;
    for (int i = 0; i < 4; ++i) {
      rivals.emplace_back([&] {
        here.close();
        try {
          const listener at{path_};
          there.send(1);
          static_cast<void>(there.poll(30s));
          return 1;
        } catch (const error& e) {
          there.send(0);
          return e.code() == errc::address_in_use ? 0 : 2;
        }
      });
    }
    there.close();
    for (int i = 0; i < 4; ++i) {
      static_cast<void>(here.recv<int>());
    }
    here.close();
    int winners = 0;
    for (forked& rival : rivals) {
      const int code = rival.wait();
      ASSERT_TRUE(code == 0 || code == 1) << code;
      winners += code;
    }
    EXPECT_EQ(winners, 1);
  }
}

TEST_F(Listener, RemovesItsFileAtTheEndAndNoOther) {
  {
    listener at{path_};
    EXPECT_TRUE(std::filesystem::exists(path_));
    at.close();
    at.close();
    EXPECT_FALSE(std::filesystem::exists(path_));
  }
  {
    const listener at{path_};
    std::filesystem::remove(path_);
    const listener next{path_};
    {
      const listener moved_away = listener{path_ + "2"};
    }
    EXPECT_TRUE(std::filesystem::exists(path_));
  }
  EXPECT_FALSE(std::filesystem::exists(path_));
  listener first{path_};
  std::filesystem::remove(path_);
  const listener second{path_};
  first.close();
  EXPECT_TRUE(std::filesystem::exists(path_)) << "it was the second's";
}

TEST_F(Listener, AForkedChildDoesNotRemoveTheFile) {
  listener at{path_};
  forked child{[&] {
    at.close();
    return 0;
  }};
  EXPECT_EQ(child.wait(), 0);
  EXPECT_TRUE(std::filesystem::exists(path_));
  meet(at, {});
}

TEST_F(Listener, AddressesThatCannotBeAreRefused) {
  for (const std::string& address :
       {std::string{}, std::string{"nothing"}, std::string{"@"}, std::string(200, '/'),
        "@" + std::string(200, 'x'), std::string{"/tmp/a\0b", 8}, std::string{"host:"},
        std::string{":80"}, std::string{"host:99999"}, std::string{"host:-1"},
        std::string{"::1:80"}}) {
    EXPECT_THROW((listener{address, {.key = "k"}}), std::invalid_argument) << address;
    EXPECT_THROW(static_cast<void>(connect(address, {.key = "k"})), std::invalid_argument)
        << address;
  }
  EXPECT_TRUE(fails_with(errc::connect_failed,
                         [&] { return listener{path_ + ".no/such/folder"}.is_open(); }));
  EXPECT_THROW((listener{path_, {.backlog = 0}}), std::invalid_argument);
  EXPECT_THROW((listener{path_, {.handshake_timeout = 0ms}}), std::invalid_argument);
}

TEST_F(Listener, NoListenerIsAnError) {
  EXPECT_TRUE(fails_with(errc::connect_failed, [&] { return connect(path_); }));
  EXPECT_TRUE(fails_with(errc::connect_failed, [&] { return connect("@troupe-no-listener"); }));
  std::string address;
  {
    const listener at{"127.0.0.1:0", {.key = "k"}};
    address = at.address();
  }
  EXPECT_TRUE(fails_with(errc::connect_failed, [&] { return connect(address, {.key = "k"}); }));
}

TEST_F(Listener, AcceptForGivesUpInTime) {
  listener at{path_};
  const auto before = clock::now();
  EXPECT_FALSE(at.accept_for(20ms));
  EXPECT_GE(clock::now() - before, 20ms);
  EXPECT_FALSE(at.accept_for(-1h));
}

TEST_F(Listener, AfterCloseNoClientIsAccepted) {
  listener at{path_};
  test::sleeper accepting;
  std::jthread closer{[&] {
    EXPECT_TRUE(accepting.sleeps());
    at.close();
  }};
  EXPECT_TRUE(fails_with(errc::closed, [&] {
    accepting.is_this_thread();
    return at.accept();
  }));
  EXPECT_FALSE(at.is_open());
  EXPECT_TRUE(fails_with(errc::closed, [&] { return at.accept(); }));
  EXPECT_TRUE(fails_with(errc::closed, [&] { return at.accept_for(1s); }));
  EXPECT_TRUE(fails_with(errc::closed, [&] { return at.native_handle(); }));
}

TEST_F(Listener, ConnectionsThatWereAcceptedOutliveIt) {
  listener at{path_};
  auto client = std::async(std::launch::async, [&] { return connect(path_); });
  connection there = at.accept();
  connection here = client.get();
  at.close();
  here.send(5);
  EXPECT_EQ(there.recv<int>(), 5);
  there.send(6);
  EXPECT_EQ(here.recv<int>(), 6);
  here.close();
  EXPECT_THROW(static_cast<void>(there.recv<int>()), end_of_stream);
}

TEST_F(Listener, SignalsHaveNoEffectOnAccept) {
  struct sigaction handler{};
  struct sigaction before{};
  handler.sa_handler = [](int) {};  // without SA_RESTART
  ::sigaction(SIGUSR1, &handler, &before);
  listener at{path_};
  std::atomic<bool> over{false};
  std::jthread shooter{[&, target = ::pthread_self()] {
    while (!over) {
      ::pthread_kill(target, SIGUSR1);
      std::this_thread::sleep_for(100us);
    }
  }};
  EXPECT_FALSE(at.accept_for(20ms));
  for (int i = 0; i < 10; ++i) {
    meet(at, {});
  }
  over = true;
  shooter.join();
  ::sigaction(SIGUSR1, &before, nullptr);
}

TEST_F(Listener, CanBeWaitedFor) {
  listener at{path_};
  auto [a, b] = pipe();
  EXPECT_TRUE(wait_readable({at, b}, 0s).empty());
  auto client = std::async(std::launch::async, [&] { return connect(path_); });
  std::optional<connection> here;
  while (!here) {
    EXPECT_EQ(wait_readable({at, b}, 10s), std::vector<waitable>{at});
    here = at.accept_for(0s);
  }
  connection there = client.get();
  talk(*here, there);
}

TEST_F(Listener, ServesManyClientsOfOtherProcesses) {
  listener at{path_, {.key = "k"}};
  std::deque<forked> clients;
  for (int i = 0; i < 8; ++i) {
    clients.emplace_back([&, i] {
      connection to = connect(path_, {.key = "k"});
      to.send(i);
      return to.recv<int>() == i * i ? 0 : 1;
    });
  }
  for (int i = 0; i < 8; ++i) {
    connection to = at.accept();
    const int number = to.recv<int>();
    to.send(number * number);
  }
  for (forked& client : clients) {
    EXPECT_EQ(client.wait(), 0);
  }
}

TEST_F(Listener, SeveralThreadsMayAccept) {
  listener at{path_};
  std::atomic<int> accepted{0};
  std::vector<std::jthread> threads;
  for (int t = 0; t < 3; ++t) {
    threads.emplace_back([&] {
      try {
        for (;;) {
          connection to = at.accept();
          to.send(1);
          ++accepted;
        }
      } catch (const error& e) {
        EXPECT_EQ(e.code(), errc::closed);
      }
    });
  }
  for (int i = 0; i < 30; ++i) {
    connection to = connect(path_);
    EXPECT_EQ(to.recv<int>(), 1);
  }
  EXPECT_TRUE(test::eventually([&] { return accepted == 30; }));
  at.close();
}

TEST_F(Listener, SilentClientsDoNotUseUpTheDescriptors) {
  listener at{path_, {.key = "k"}};
  std::vector<descriptor> silent;
  for (int i = 0; i < 40; ++i) {
    silent.push_back(raw_client());
  }
  signpost limited;
  forked client{[&] {
    limited.await();
    connection there = connect(path_, {.key = "k", .timeout = 60s});
    there.send(7);
    return there.recv<int>() == 8 ? 0 : 1;
  }};
  std::optional<connection> here;
  {
    test::no_descriptors none;
    none.allow(10);
    limited.reached();
    EXPECT_NO_THROW(here = at.accept_for(60s));
  }
  ASSERT_TRUE(here);
  EXPECT_EQ(here->recv<int>(), 7);
  here->send(8);
  EXPECT_EQ(client.wait(), 0);
  // Those that came first had to go.
  char any = 0;
  EXPECT_EQ(::recv(silent.front().number(), &any, 1, MSG_DONTWAIT), 1) << "of the greeting";
  EXPECT_TRUE(test::eventually([&] {
    std::array<char, 64> rest{};
    return ::recv(silent.front().number(), rest.data(), rest.size(), MSG_DONTWAIT) == 0;
  }));
}

TEST_F(Listener, TheLastDescriptorIsEnoughForAClient) {
  listener at{path_, {.key = "k"}};
  signpost limited;
  forked client{[&] {
    limited.await();
    connection there = connect(path_, {.key = "k", .timeout = 60s});
    there.send(7);
    return there.recv<int>() == 8 ? 0 : 1;
  }};
  std::optional<connection> here;
  {
    test::no_descriptors none;
    none.allow(1);
    limited.reached();
    EXPECT_NO_THROW(here = at.accept_for(60s));
  }
  ASSERT_TRUE(here) << "it was dropped for the next one, and there is none";
  EXPECT_EQ(here->recv<int>(), 7);
  here->send(8);
  EXPECT_EQ(client.wait(), 0);
}

TEST_F(Listener, WithoutDescriptorsTheClientWaitsAtTheDoor) {
  listener at{path_};
  auto client = std::async(std::launch::async, [&] { return connect(path_, {.timeout = 30s}); });
  ASSERT_EQ(wait_readable({at}, 30s).size(), 1U);
  rlimit before{};
  ::getrlimit(RLIMIT_NOFILE, &before);
  rlimit none = before;
  none.rlim_cur = 3;
  ::setrlimit(RLIMIT_NOFILE, &none);
  std::exception_ptr thrown;  // looked at later: UBSan needs descriptors to check a vptr
  try {
    static_cast<void>(at.accept());
  } catch (...) {
    thrown = std::current_exception();
  }
  ::setrlimit(RLIMIT_NOFILE, &before);
  ASSERT_TRUE(thrown);
  EXPECT_TRUE(fails_with(errc::resource_exhausted, [&] {
    std::rethrow_exception(thrown);
    return 0;
  }));
  connection here = at.accept();
  connection there = client.get();
  talk(here, there);
}

}  // namespace
}  // namespace troupe
