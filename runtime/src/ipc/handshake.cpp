// SPDX-License-Identifier: BSD-3-Clause
#include "ipc/handshake.hpp"

#include "troupe/error.hpp"

#include "os/sys.hpp"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <sys/random.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <span>
#include <string_view>
#include <utility>

namespace troupe::detail {
namespace {

constexpr std::array<char, 8> expected_magic{'t', 'r', 'o', 'u', 'p', 'e', 'C', '2'};
enum : std::uint8_t { without_key = 0, with_key = 1 };
enum : std::uint8_t { accepted = 1, wrong_key = 2 };

template <std::size_t N>
void fill_with_random(std::array<std::byte, N>& to) {
  std::size_t at = 0;
  while (at < N) {
    const ssize_t count = ::getrandom(to.data() + at, N - at, 0);
    if (count < 0 && errno != EINTR) {
      sys::fail(errc::resource_exhausted, "troupe: no random numbers for a challenge", errno);
    }
    at += count > 0 ? static_cast<std::size_t>(count) : 0;
  }
}

}  // namespace

struct handshake::greeting {
  std::array<char, 8> magic = expected_magic;
  std::uint8_t mode = 0;
  std::array<std::uint8_t, 7> zeros{};
  std::array<std::byte, challenge_bytes> challenge{};
  process_credentials self{};
};

struct handshake::answer {
  std::array<char, 8> magic = expected_magic;
  std::uint8_t mode = 0;
  std::array<std::uint8_t, 7> zeros{};
  std::array<std::byte, challenge_bytes> challenge{};
  process_credentials self{};
  proof proven{};
};

struct handshake::verdict {
  std::uint8_t said = 0;
  std::array<std::uint8_t, 7> zeros{};
  proof proven{};
};

handshake::handshake(side role, const std::optional<std::string>& key,
                     const std::optional<process_credentials>& self)
    : side_{role}, key_{key}, is_tcp_{!self}, self_{self.value_or(process_credentials{})} {
  static_assert(sizeof(greeting) == 80 && sizeof(answer) == 112 && sizeof(verdict) == 40);
  if (!is_tcp_) {
    fill_with_random(role == side::listener ? listeners_ : clients_);
  }
}

template <class Message>
bool handshake::send(int socket, const Message& message) {
  const auto bytes = std::as_bytes(std::span{&message, 1});
  ssize_t count = 0;
  do {
    count = ::send(socket, bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
  } while (count < 0 && errno == EINTR);
  return count == static_cast<ssize_t>(bytes.size());
}

template <class Message>
Message handshake::received() const noexcept {
  static_assert(sizeof(Message) <= sizeof in_);
  Message message;
  std::memcpy(&message, in_.data(), sizeof message);
  return message;
}

handshake::proof handshake::prove(side by, int socket) const {
  proof made{};
  if (!key_) {
    return made;
  }
  const std::string_view role =
      by == side::listener ? "troupe connection 2: listener" : "troupe connection 2: client";
  std::string text{role};
  text += '\0';
  text += static_cast<char>(with_key);
  text.append(reinterpret_cast<const char*>(listeners_.data()), listeners_.size());
  text.append(reinterpret_cast<const char*>(clients_.data()), clients_.size());
  const bool is_client = side_ == side::client;
  for (const process_credentials* one :
       {is_client ? &peer_ : &self_, is_client ? &self_ : &peer_}) {
    text.append(reinterpret_cast<const char*>(one), sizeof *one);
  }
  text += socket_names(socket, is_client);
  // OpenSSL's exit handler would destroy its data, and a static destructor that runs later may need
  // them.
  if (::OPENSSL_init_crypto(0, nullptr) != 1) {
    throw error{errc::resource_exhausted, task_ran::no,
                "troupe: this program is ending, and has shut down OpenSSL: no key can be proved "
                "any more"};
  }
  unsigned length = 0;
  if (::HMAC(::EVP_sha256(), key_->data(), static_cast<int>(key_->size()),
             reinterpret_cast<const unsigned char*>(text.data()), text.size(),
             reinterpret_cast<unsigned char*>(made.data()), &length) == nullptr ||
      length != made.size()) {
    throw error{errc::resource_exhausted, task_ran::no, "troupe: OpenSSL makes no HMAC-SHA-256"};
  }
  return made;
}

handshake::state handshake::fail(std::string why) {
  why_ = std::move(why);
  return state::failed;
}

handshake::state handshake::refuse(std::string why) {
  why_ = std::move(why);
  return state::refused;
}

handshake::state handshake::begin(int socket) {
  begun_ = true;
  if (side_ == side::client) {
    return state::under_way;
  }
  greeting hello;
  hello.mode = key_ ? with_key : without_key;
  hello.challenge = listeners_;
  hello.self = self_;
  return send(socket, hello) ? state::under_way : fail("the client is gone");
}

handshake::state handshake::step_secure(int socket) {
  if (!secure_ && side_ == side::listener) {
    // A client that says nothing costs no more than its socket.
    char first = 0;
    const ssize_t count = ::recv(socket, &first, 1, MSG_PEEK | MSG_DONTWAIT);
    if (count < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR)) {
      return state::under_way;
    }
    if (count <= 0) {
      return fail("the peer ended before it had proven itself");
    }
  }
  if (!secure_) {
    secure_ = std::make_shared<secure_stream>(
        side_ == side::client ? secure_stream::side::client : secure_stream::side::listener,
        key_.value());
  }
  std::string why;
  switch (secure_->shake_hands(socket, why)) {
    case secure_stream::progress::under_way:
      return state::under_way;
    case secure_stream::progress::done:
      return state::done;
    case secure_stream::progress::refused:
      return refuse(std::move(why));
    case secure_stream::progress::failed:
      break;
  }
  return fail(std::move(why));
}

handshake::state handshake::step(int socket) {
  if (is_tcp_) {
    return step_secure(socket);
  }
  if (!begun_ && begin(socket) == state::failed) {
    return state::failed;
  }
  const std::size_t expected = side_ == side::listener ? sizeof(answer)
                               : answered_             ? sizeof(verdict)
                                                       : sizeof(greeting);
  while (in_bytes_ < expected) {
    const ssize_t count =
        ::recv(socket, in_.data() + in_bytes_, expected - in_bytes_, MSG_DONTWAIT);
    if (count < 0 && errno == EINTR) {
      continue;
    }
    if (count < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
      return state::under_way;
    }
    if (count <= 0) {
      return fail("the peer ended before it had proven itself");
    }
    in_bytes_ += static_cast<std::size_t>(count);
    // A peer that begins with other bytes is no troupe process, and may never send as many bytes as
    // are expected.
    const std::size_t begun = std::min(in_bytes_, expected_magic.size());
    if (!answered_ && std::memcmp(in_.data(), expected_magic.data(), begun) != 0) {
      return fail("the peer speaks another protocol");
    }
  }
  in_bytes_ = 0;
  if (side_ == side::listener) {
    return check_answer(socket);
  }
  return answered_ ? check_verdict(socket) : answer_greeting(socket);
}

handshake::state handshake::check_answer(int socket) {
  const auto got = received<answer>();
  clients_ = got.challenge;
  peer_ = got.self;
  const proof wanted = prove(side::client, socket);
  const bool same_mode = got.mode == (key_ ? with_key : without_key);
  // In constant time, so that a client cannot find the proof out byte by byte.
  const bool right = ::CRYPTO_memcmp(got.proven.data(), wanted.data(), wanted.size()) == 0;
  verdict said;
  if (!same_mode || !right) {
    said.said = wrong_key;
    static_cast<void>(send(socket, said));
    return refuse(same_mode ? "the client has another key, or something is between it and us"
                  : key_    ? "the client has no key"
                            : "the client has a key, and the listener has none");
  }
  if (key_ && !is_peer(socket, peer_)) {
    said.said = wrong_key;
    static_cast<void>(send(socket, said));
    return refuse("another process than the client passes on what the client sends");
  }
  said.said = accepted;
  said.proven = prove(side::listener, socket);
  return send(socket, said) ? state::done : fail("the client is gone");
}

handshake::state handshake::answer_greeting(int socket) {
  const auto got = received<greeting>();
  listeners_ = got.challenge;
  peer_ = got.self;
  answered_ = true;
  answer mine;
  mine.mode = key_ ? with_key : without_key;
  mine.challenge = clients_;
  mine.self = self_;
  // Sent also to a listener of another mode, which sees by it that the modes differ. A proof for
  // one challenge is of no use for another one.
  mine.proven = prove(side::client, socket);
  return send(socket, mine) ? step(socket) : fail("the listener is gone");
}

handshake::state handshake::check_verdict(int socket) {
  const auto got = received<verdict>();
  if (got.said == wrong_key) {
    return refuse(
        "the listener has another key, only one side has a key, or something is between it and us");
  }
  const proof wanted = prove(side::listener, socket);
  if (got.said != accepted ||
      ::CRYPTO_memcmp(got.proven.data(), wanted.data(), wanted.size()) != 0) {
    return refuse("the listener could not prove that it has our key");
  }
  if (key_ && !is_peer(socket, peer_)) {
    return refuse("another process than the listener passes on what the listener sends");
  }
  return state::done;
}

}  // namespace troupe::detail
