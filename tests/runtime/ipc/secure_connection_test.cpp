// SPDX-License-Identifier: BSD-3-Clause
// Connections over TCP, with whoever controls the network in between: it may read, change, repeat,
// insert and cut, and has no key.
#include "troupe/connection.hpp"
#include "troupe/detail/descriptor.hpp"
#include "troupe/listener.hpp"
#include "troupe/wait_readable.hpp"

#include "os/failpoint.hpp"
#include "support/eventually.hpp"
#include "support/fails_with.hpp"
#include "support/forked.hpp"
#include "support/no_leaks.hpp"
#include "support/sleeper.hpp"

#include <gtest/gtest.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <future>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

namespace troupe {
namespace {

using namespace std::chrono_literals;
using detail::descriptor;
using test::fails_with;
using test::forked;
using test::signpost;

sockaddr_in loopback(std::uint16_t port) {
  sockaddr_in at{};
  at.sin_family = AF_INET;
  at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  at.sin_port = htons(port);
  return at;
}

/// A TCP socket that listens at a free port and speaks nothing by itself.
class raw_door {
 public:
  raw_door() {
    const sockaddr_in at = loopback(0);
    EXPECT_EQ(::bind(socket_.number(), reinterpret_cast<const sockaddr*>(&at), sizeof at), 0);
    EXPECT_EQ(::listen(socket_.number(), 10), 0);
  }
  [[nodiscard]] std::string address() const {
    sockaddr_in at{};
    socklen_t bytes = sizeof at;
    EXPECT_EQ(::getsockname(socket_.number(), reinterpret_cast<sockaddr*>(&at), &bytes), 0);
    return "127.0.0.1:" + std::to_string(ntohs(at.sin_port));
  }
  [[nodiscard]] descriptor accept() const {
    return descriptor{::accept4(socket_.number(), nullptr, nullptr, SOCK_CLOEXEC)};
  }

 private:
  descriptor socket_{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
};

descriptor raw_client(const std::string& address) {
  descriptor made{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
  const auto port = std::stoul(address.substr(address.rfind(':') + 1));
  const sockaddr_in to = loopback(static_cast<std::uint16_t>(port));
  EXPECT_EQ(::connect(made.number(), reinterpret_cast<const sockaddr*>(&to), sizeof to), 0);
  return made;
}

void send_raw(const descriptor& to, std::string_view bytes) {
  static_cast<void>(::send(to.number(), bytes.data(), bytes.size(), MSG_NOSIGNAL));
}

/// What comes next, at least a byte of it; nothing at the end.
std::string receive_raw(const descriptor& from) {
  std::string bytes(1 << 16, '\0');
  const ssize_t came = ::recv(from.number(), bytes.data(), bytes.size(), 0);
  bytes.resize(came > 0 ? static_cast<std::size_t>(came) : 0);
  return bytes;
}

/// The network between a client and a listener. It passes everything on until the handshake is done.
class network {
 public:
  explicit network(listener& at) {
    auto client =
        std::async(std::launch::async, [&] { return connect(door_.address(), {.key = "k"}); });
    near_ = door_.accept();
    far_ = raw_client(at.address());
    auto accepted = std::async(std::launch::async, [&] { return at.accept(); });
    while (accepted.wait_for(0s) != std::future_status::ready ||
           client.wait_for(0s) != std::future_status::ready) {
      std::array<pollfd, 2> ends{pollfd{near_.number(), POLLIN, 0},
                                 pollfd{far_.number(), POLLIN, 0}};
      if (::poll(ends.data(), ends.size(), 1) > 0) {
        ends[0].revents != 0 ? send_raw(far_, receive_raw(near_))
                             : send_raw(near_, receive_raw(far_));
      }
    }
    there.emplace(client.get());
    here.emplace(accepted.get());
  }

  /// What the client has sent.
  [[nodiscard]] std::string take() const { return receive_raw(near_); }
  void deliver(std::string_view bytes) const { send_raw(far_, bytes); }
  void cut() { far_.reset(); }

  std::optional<connection> there;  ///< the client
  std::optional<connection> here;   ///< the listener's

 private:
  raw_door door_;
  descriptor near_, far_;
};

class SecureConnection : public test::no_leaks {
 protected:
  SecureConnection() {
    detail::failpoint::reset();  // the table stays for good, once it is there
    meet();                      // and what OpenSSL has set up
    take_baseline();
  }

  static std::pair<connection, connection> meet(listener& at, const std::string& key = "k") {
    auto client =
        std::async(std::launch::async, [&] { return connect(at.address(), {.key = key}); });
    connection here = at.accept();
    return {std::move(here), client.get()};
  }
  static std::pair<connection, connection> meet() {
    listener at{"127.0.0.1:0", {.key = "k"}};
    return meet(at);
  }
};

TEST_F(SecureConnection, IsPrivate) {
  listener at{"127.0.0.1:0", {.key = "k"}};
  network between{at};
  between.there->send(std::string{"attack at dawn"});
  const std::string seen = between.take();
  EXPECT_EQ(seen.find("attack"), std::string::npos) << "the network could read it";
  EXPECT_EQ(seen.find("TRp1"), std::string::npos);
  between.deliver(seen);
  EXPECT_EQ(between.here->recv<std::string>(), "attack at dawn");
}

TEST_F(SecureConnection, WhatTheNetworkInsertsIsNotReceived) {
  listener at{"127.0.0.1:0", {.key = "k"}};
  network between{at};
  std::string frame{"TRp1\1\0\0\0\4\0\0\0\0\0\0\0", 16};
  frame += std::string{"\x67\x12\0\0", 4};  // 4711
  between.deliver(frame);
  EXPECT_TRUE(fails_with(errc::protocol_error, [&] { return between.here->recv<int>(); }));
  EXPECT_FALSE(between.here->is_open());
}

TEST_F(SecureConnection, WhatTheNetworkChangesIsNotReceived) {
  listener at{"127.0.0.1:0", {.key = "k"}};
  network between{at};
  between.there->send(1);
  std::string seen = between.take();
  seen.back() = static_cast<char>(seen.back() ^ 1);
  between.deliver(seen);
  EXPECT_TRUE(fails_with(errc::protocol_error, [&] { return between.here->recv<int>(); }));
}

TEST_F(SecureConnection, WhatTheNetworkRepeatsIsReceivedOnce) {
  listener at{"127.0.0.1:0", {.key = "k"}};
  network between{at};
  between.there->send(1);
  const std::string seen = between.take();
  between.deliver(seen);
  between.deliver(seen);
  EXPECT_EQ(between.here->recv<int>(), 1);
  EXPECT_TRUE(fails_with(errc::protocol_error, [&] { return between.here->recv<int>(); }));
}

TEST_F(SecureConnection, ACutBetweenMessagesIsNoEndOfTheStream) {
  listener at{"127.0.0.1:0", {.key = "k"}};
  network between{at};
  between.there->send(1);
  between.deliver(between.take());
  between.there->send(2);  // is lost
  between.cut();
  EXPECT_EQ(between.here->recv<int>(), 1);
  EXPECT_TRUE(between.here->poll(30s));
  EXPECT_TRUE(fails_with(errc::protocol_error, [&] { return between.here->recv<int>(); }));
}

TEST_F(SecureConnection, AKilledPeerIsNoEndOfTheStreamAndWhatItSentArrives) {
  listener at{"127.0.0.1:0", {.key = "k"}};
  forked client{[&] {
    connection there = connect(at.address(), {.key = "k"});
    there.send(std::string(100'000, 'x'));
    ::kill(::getpid(), SIGKILL);
    return 0;
  }};
  connection here = at.accept();
  EXPECT_EQ(here.recv<std::string>().size(), 100'000U);
  EXPECT_TRUE(fails_with(errc::protocol_error, [&] { return here.recv<int>(); }));
  EXPECT_EQ(client.wait(), 1000 + SIGKILL);
}

TEST_F(SecureConnection, EndsAsOthersDoWhenAllIsReceived) {
  auto met = meet();
  auto& here = met.first;
  auto& there = met.second;
  for (const std::size_t bytes :
       std::initializer_list<std::size_t>{0, 1, 16'368, 16'369, 100'000, 20U << 20U}) {
    const std::jthread sender{[&, &peer = there] { peer.send(std::string(bytes, 'x')); }};
    EXPECT_EQ(here.recv<std::string>().size(), bytes);
  }
  std::jthread sender{[&there = there] {
    there.send(std::string(20 << 20, 'y'));
    there.close();  // at once, with the system's buffer full
  }};
  EXPECT_EQ(here.recv<std::string>().size(), 20U << 20);
  EXPECT_THROW(static_cast<void>(here.recv<int>()), end_of_stream);
  sender.join();
  EXPECT_TRUE(test::eventually([&, &here = here] {
    try {
      here.send(1);
      return false;
    } catch (const broken_pipe&) {
      return true;
    }
  }));
}

TEST_F(SecureConnection, WhatThePeerSentBeforeItLeftCanBeReceivedAfterASendHasFailed) {
  auto met = meet();
  auto& here = met.first;
  auto& there = met.second;
  there.send(7);
  there.close();
  EXPECT_TRUE(test::eventually([&, &here = here] {
    try {
      here.send(1);
      return false;
    } catch (const broken_pipe&) {
      return true;
    }
  }));
  ASSERT_TRUE(here.is_open());
  EXPECT_EQ(here.recv<int>(), 7);
}

TEST_F(SecureConnection, GoesBothWaysAtOnce) {
  auto met = meet();
  auto& here = met.first;
  auto& there = met.second;
  const auto send_many = [](connection& to) {
    for (int i = 0; i < 200; ++i) {
      to.send(std::string(static_cast<std::size_t>(i) * 997, 'x'));
    }
  };
  const auto receive_many = [](connection& from) {
    for (int i = 0; i < 200; ++i) {
      ASSERT_EQ(from.recv<std::string>().size(), static_cast<std::size_t>(i) * 997);
    }
  };
  std::vector<std::jthread> threads;
  threads.emplace_back([&, &here = here] { send_many(here); });
  threads.emplace_back([&, &there = there] { send_many(there); });
  threads.emplace_back([&, &here = here] { receive_many(here); });
  receive_many(there);
}

TEST_F(SecureConnection, TheSocketIsReadableWhenAMessageIsThere) {
  auto met = meet();
  auto& here = met.first;
  auto& there = met.second;
  EXPECT_TRUE(wait_readable({here}, 0s).empty());
  EXPECT_FALSE(here.poll());
  for (int i = 0; i < 100; ++i) {
    there.send(i);
  }
  for (int i = 0; i < 100; ++i) {
    ASSERT_EQ(wait_readable({here}, 30s).size(), 1U) << "message " << i << " was not seen";
    ASSERT_TRUE(here.poll(30s));
    ASSERT_EQ(here.recv<int>(), i);
  }
  EXPECT_FALSE(here.poll(1ms));
  EXPECT_TRUE(wait_readable({here}, 0s).empty());
}

TEST_F(SecureConnection, AWrongKeyIsAnErrorOnBothSides) {
  listener at{"127.0.0.1:0", {.key = "right"}};
  for (const std::string& wrong :
       {std::string{"wrong"}, std::string{}, std::string(1 << 20, 'r')}) {
    auto client =
        std::async(std::launch::async, [&] { return connect(at.address(), {.key = wrong}); });
    EXPECT_THROW(static_cast<void>(at.accept()), authentication_error);
    EXPECT_THROW(static_cast<void>(client.get()), authentication_error);
  }
  meet(at, "right");
  for (const std::string& key : {std::string{}, std::string(1 << 20, 'k')}) {
    listener other{"127.0.0.1:0", {.key = key}};
    auto met = meet(other, key);
    auto& here = met.first;
    auto& there = met.second;
    here.send(1);
    EXPECT_EQ(there.recv<int>(), 1);
  }
}

/// What a client begins with.
std::string client_hello() {
  const raw_door door;
  auto client =
      std::async(std::launch::async, [&] { return connect(door.address(), {.key = "k"}); });
  std::string hello;
  {
    const descriptor peer = door.accept();
    hello = receive_raw(peer);
  }
  EXPECT_TRUE(fails_with(errc::protocol_error, [&] { return client.get(); }));
  return hello;
}

TEST_F(SecureConnection, BytesThatAreNoHandshakeLetNoClientIn) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::minstd_rand random{seed};
  const std::string hello = client_hello();
  ASSERT_GT(hello.size(), 100U);
  listener at{"127.0.0.1:0", {.key = "k"}};
  std::vector<std::string> all{hello, hello + hello, "GET / HTTP/1.1\r\n\r\n",
                               std::string(100'000, 'x')};
  for (std::size_t bytes = 0; bytes < hello.size(); bytes += 7) {
    all.push_back(hello.substr(0, bytes));
  }
  for (int i = 0; i < 100; ++i) {
    std::string changed = hello;
    changed[random() % changed.size()] = static_cast<char>(random());
    all.push_back(std::move(changed));
  }
  for (const std::string& bytes : all) {
    const descriptor client = raw_client(at.address());
    send_raw(client, bytes);
    if (random() % 2 == 0) {
      ::shutdown(client.number(), SHUT_WR);
    }
    try {
      EXPECT_FALSE(at.accept_for(0s)) << "a client was let in";
    } catch (const authentication_error&) {
      // The proof was what was changed.
    }
  }
  // Those that are not done yet are refused later.
  for (bool is_in = false; !is_in;) {
    auto client =
        std::async(std::launch::async, [&] { return connect(at.address(), {.key = "k"}); });
    std::optional<connection> here;
    while (!here) {
      try {
        here = at.accept();
      } catch (const authentication_error&) {
        continue;
      }
    }
    connection there = client.get();
    there.send(5);
    EXPECT_EQ(here->recv<int>(), 5);
    is_in = true;
  }
}

TEST_F(SecureConnection, TheEarlierHandshakeIsRefused) {
  // A client of before waits for the listener's greeting, and would prove its key then.
  listener at{"127.0.0.1:0", {.key = "k", .handshake_timeout = 30ms}};
  const descriptor client = raw_client(at.address());
  std::string answer = "troupeC1\1";
  answer.resize(80, '\0');
  send_raw(client, answer);
  EXPECT_FALSE(at.accept_for(100ms));
  EXPECT_EQ(receive_raw(client).find("troupeC"), std::string::npos);
  const raw_door door;
  auto honest =
      std::async(std::launch::async, [&] { return connect(door.address(), {.key = "k"}); });
  const descriptor peer = door.accept();
  std::string greeting = "troupeC1\1";
  greeting.resize(48, '\0');
  send_raw(peer, greeting);
  EXPECT_TRUE(fails_with(errc::protocol_error, [&] { return honest.get(); }));
}

TEST_F(SecureConnection, ASilentOrSlowPeerIsGivenUpInTime) {
  const raw_door door;
  EXPECT_THROW(static_cast<void>(connect(door.address(), {.key = "k", .timeout = 30ms})),
               timeout_error);
  listener at{"127.0.0.1:0", {.key = "k", .handshake_timeout = 30ms}};
  const descriptor silent = raw_client(at.address());
  const descriptor slow = raw_client(at.address());
  send_raw(slow, client_hello().substr(0, 50));
  EXPECT_FALSE(at.accept_for(200ms));
  EXPECT_EQ(receive_raw(silent), "") << "it was dropped";
  EXPECT_EQ(receive_raw(slow), "");
}

TEST_F(SecureConnection, ACertificateInPlaceOfTheKeyProvesNothing) {
  const std::unique_ptr<EVP_PKEY, decltype(&EVP_PKEY_free)> key{EVP_EC_gen("P-256"), EVP_PKEY_free};
  const std::unique_ptr<X509, decltype(&X509_free)> certificate{X509_new(), X509_free};
  X509_gmtime_adj(X509_getm_notBefore(certificate.get()), 0);
  X509_gmtime_adj(X509_getm_notAfter(certificate.get()), 3600);
  X509_set_pubkey(certificate.get(), key.get());
  ASSERT_GT(X509_sign(certificate.get(), key.get(), EVP_sha256()), 0);
  const std::unique_ptr<SSL_CTX, decltype(&SSL_CTX_free)> context{SSL_CTX_new(TLS_server_method()),
                                                                  SSL_CTX_free};
  ASSERT_EQ(SSL_CTX_use_certificate(context.get(), certificate.get()), 1);
  ASSERT_EQ(SSL_CTX_use_PrivateKey(context.get(), key.get()), 1);
  const raw_door door;
  auto client =
      std::async(std::launch::async, [&] { return connect(door.address(), {.key = "k"}); });
  const descriptor peer = door.accept();
  const std::unique_ptr<SSL, decltype(&SSL_free)> thief{SSL_new(context.get()), SSL_free};
  SSL_set_fd(thief.get(), peer.number());
  EXPECT_LE(SSL_accept(thief.get()), 0);
  EXPECT_THROW(static_cast<void>(client.get()), authentication_error);
}

TEST_F(SecureConnection, AForkedChildHasNoKeysAndDoesNotEndIt) {
  auto met = meet();
  auto& here = met.first;
  auto& there = met.second;
  forked child{[&here = here] {
    const bool refused = fails_with(errc::closed, [&] { return here.send(1), 0; }) &&
                         fails_with(errc::closed, [&] { return here.recv<int>(); });
    here.close();
    here = connection{};
    return refused ? 0 : 1;
  }};
  EXPECT_EQ(child.wait(), 0);
  here.send(2);
  EXPECT_EQ(there.recv<int>(), 2);
  there.send(3);
  EXPECT_EQ(here.recv<int>(), 3);
}

TEST_F(SecureConnection, AnotherProcessUsesItThroughTheOneThatHasTheKeys) {
  auto met = meet();
  auto& here = met.first;
  auto& there = met.second;
  auto both = pipe();
  auto& a = both.first;
  auto& b = both.second;
  forked child{[&, &a = a, &b = b] {
    a.close();
    auto mine = b.recv<connection>();
    if (fails_with(errc::argument_encode_failed, [&] { return mine.send_descriptor(0), 0; })) {
      for (;;) {
        try {
          mine.send(mine.recv<std::string>());
        } catch (const end_of_stream&) {
          return 0;
        }
      }
    }
    return 1;
  }};
  b.close();
  a.send(here);
  here.close();
  for (const std::size_t bytes :
       std::initializer_list<std::size_t>{0, 1, 16'369, 65'536, 65'537, 20 << 20}) {
    const std::jthread sender{[&, &peer = there] { peer.send(std::string(bytes, 'x')); }};
    ASSERT_EQ(there.recv<std::string>().size(), bytes);
  }
  for (int i = 0; i < 100; ++i) {
    there.send(std::to_string(i));
  }
  for (int i = 0; i < 100; ++i) {
    ASSERT_EQ(wait_readable({there}, 30s).size(), 1U);
    ASSERT_EQ(there.recv<std::string>(), std::to_string(i));
  }
  there.close();
  EXPECT_EQ(child.wait(), 0);
}

TEST_F(SecureConnection, TheSenderMayGoOnWithWhatItHasHandedOver) {
  auto met = meet();
  auto& here = met.first;
  auto& there = met.second;
  auto both = pipe();
  auto& a = both.first;
  auto& b = both.second;
  a.send(here);
  auto again = b.recv<connection>();
  here.send(1);
  again.send(2);
  EXPECT_EQ(there.recv<int>(), 1);
  EXPECT_EQ(there.recv<int>(), 2);
  a.send(again);  // from hand to hand
  auto third = b.recv<connection>();
  here.close();
  again.close();
  there.send(3);
  EXPECT_EQ(third.recv<int>(), 3);
  third.close();
  EXPECT_THROW(static_cast<void>(there.recv<int>()), end_of_stream);
}

TEST_F(SecureConnection, ACutIsNoEndOfTheStreamToTheProcessItWasHandedTo) {
  listener at{"127.0.0.1:0", {.key = "k"}};
  network between{at};
  auto both = pipe();
  auto& a = both.first;
  auto& b = both.second;
  a.send(*between.here);
  auto mine = b.recv<connection>();
  between.here->close();
  between.there->send(1);
  between.deliver(between.take());
  EXPECT_EQ(mine.recv<int>(), 1);
  between.cut();
  EXPECT_TRUE(fails_with(errc::protocol_error, [&] { return mine.recv<int>(); }));
}

TEST_F(SecureConnection, IsNotHandedOverWhileAThreadReceives) {
  auto met = meet();
  auto& here = met.first;
  auto& there = met.second;
  auto both = pipe();
  auto& a = both.first;
  test::sleeper waits;
  std::jthread receiving{[&, &here = here] {
    waits.is_this_thread();
    EXPECT_EQ(here.recv<int>(), 1);
  }};
  EXPECT_TRUE(waits.sleeps());
  EXPECT_TRUE(fails_with(errc::argument_encode_failed,
                         [&, &here = here, &a = a] { return a.send(here), 0; }));
  there.send(1);
}

}  // namespace
}  // namespace troupe
