// SPDX-License-Identifier: BSD-3-Clause
#include "ipc/secure_stream.hpp"

#include "troupe/error.hpp"

#include "os/process_identity.hpp"

#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <string_view>
#include <utility>

namespace troupe::detail {
namespace {

constexpr std::size_t record_bytes = SSL3_RT_MAX_PLAIN_LENGTH;
constexpr std::string_view identity = "troupe connection 2";
constexpr std::string_view purpose = "troupe connection 2: pre-shared key";
constexpr std::array<unsigned char, 2> aes_128_gcm_sha256{0x13, 0x01};

/// OpenSSL's exit handler destroys its data, and a static destructor that runs later may need them.
bool has_ended() noexcept {
  return ::OPENSSL_init_crypto(0, nullptr) != 1;
}

[[noreturn]] void fail_to_begin(const char* why) {
  throw error{errc::resource_exhausted, task_ran::no, std::string{"troupe: "} + why};
}

/// The socket as OpenSSL sees it.
struct raw_socket {
  int socket = -1;
  int read_error = 0;      ///< for another reason than EAGAIN
  int write_error = 0;     ///< so, too
  bool ended = false;      ///< the peer sends no more
  std::uint64_t sent = 0;  ///< bytes
};

raw_socket& socket_of(BIO* bio) {
  return *static_cast<raw_socket*>(::BIO_get_data(bio));
}

// OpenSSL's own BIO for sockets raises SIGPIPE, and blocks where the socket does.
int write_socket(BIO* bio, const char* bytes, int count) {
  raw_socket& to = socket_of(bio);
  ::BIO_clear_retry_flags(bio);
  const ssize_t sent =
      ::send(to.socket, bytes, static_cast<std::size_t>(count), MSG_NOSIGNAL | MSG_DONTWAIT);
  if (sent > 0) {
    to.sent += static_cast<std::uint64_t>(sent);
  } else if (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR) {
    ::BIO_set_retry_write(bio);
  } else {
    to.write_error = errno;
  }
  return static_cast<int>(sent);
}

int read_socket(BIO* bio, char* to, int count) {
  raw_socket& from = socket_of(bio);
  ::BIO_clear_retry_flags(bio);
  const ssize_t came = ::recv(from.socket, to, static_cast<std::size_t>(count), MSG_DONTWAIT);
  if (came == 0) {
    from.ended = true;
  } else if (came < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR)) {
    ::BIO_set_retry_read(bio);
  } else if (came < 0) {
    from.read_error = errno;
  }
  return static_cast<int>(came);
}

long control_socket(BIO* bio, int what, long, void*) {
  return what == BIO_CTRL_FLUSH || (what == BIO_CTRL_EOF && socket_of(bio).ended) ? 1 : 0;
}

/// What all streams have in common, made at the first use. Without a lock, which a process that is
/// forked meanwhile could wait for; never destroyed, as streams may be global variables.
template <class T, class Make, class Drop>
T* made_once(std::atomic<T*>& place, Make make, Drop drop) {
  T* there = place.load();
  if (there == nullptr) {
    T* const made = make();
    if (place.compare_exchange_strong(there, made)) {
      return made;
    }
    drop(made);
  }
  return there;
}

BIO_METHOD* make_method() {
  BIO_METHOD* const one = ::BIO_meth_new(::BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "socket");
  if (one == nullptr || ::BIO_meth_set_write(one, &write_socket) != 1 ||
      ::BIO_meth_set_read(one, &read_socket) != 1 ||
      ::BIO_meth_set_ctrl(one, &control_socket) != 1) {
    fail_to_begin("OpenSSL makes no connection");
  }
  return one;
}

BIO_METHOD* socket_method() {
  static constinit std::atomic<BIO_METHOD*> made{nullptr};
  return made_once(made, &make_method, &::BIO_meth_free);
}

using psk = std::array<unsigned char, 32>;

/// The session that TLS resumes when it is given a pre-shared key. Null: OpenSSL has no memory.
SSL_SESSION* make_session(SSL* of) {
  const auto& key = *static_cast<const psk*>(SSL_get_app_data(of));
  SSL_SESSION* const made = ::SSL_SESSION_new();
  const SSL_CIPHER* const cipher = ::SSL_CIPHER_find(of, aes_128_gcm_sha256.data());
  if (made == nullptr || cipher == nullptr ||
      ::SSL_SESSION_set1_master_key(made, key.data(), key.size()) != 1 ||
      ::SSL_SESSION_set_cipher(made, cipher) != 1 ||
      ::SSL_SESSION_set_protocol_version(made, TLS1_3_VERSION) != 1) {
    ::SSL_SESSION_free(made);
    return nullptr;
  }
  return made;
}

int offer_key(SSL* client, const EVP_MD*, const unsigned char** name, std::size_t* name_bytes,
              SSL_SESSION** offered) {
  *offered = make_session(client);
  *name = reinterpret_cast<const unsigned char*>(identity.data());
  *name_bytes = identity.size();
  return *offered != nullptr ? 1 : 0;
}

int find_key(SSL* listener, const unsigned char* name, std::size_t name_bytes,
             SSL_SESSION** found) {
  *found = nullptr;
  if (name_bytes != identity.size() || std::memcmp(name, identity.data(), name_bytes) != 0) {
    return 1;  // another kind of client, which gets no further: there is no certificate
  }
  *found = make_session(listener);
  return *found != nullptr ? 1 : 0;
}

SSL_CTX* make_context(secure_stream::side role) {
  SSL_CTX* const made = ::SSL_CTX_new(role == secure_stream::side::client ? ::TLS_client_method()
                                                                          : ::TLS_server_method());
  if (made == nullptr || ::SSL_CTX_set_min_proto_version(made, TLS1_3_VERSION) != 1 ||
      ::SSL_CTX_set_max_proto_version(made, TLS1_3_VERSION) != 1 ||
      // Those with the hash that a pre-shared key is bound to.
      ::SSL_CTX_set_ciphersuites(made, "TLS_AES_128_GCM_SHA256:TLS_CHACHA20_POLY1305_SHA256") !=
          1 ||
      ::SSL_CTX_set_num_tickets(made, 0) != 1) {
    fail_to_begin("OpenSSL cannot do TLS 1.3");
  }
  ::SSL_CTX_set_session_cache_mode(made, SSL_SESS_CACHE_OFF);
  ::SSL_CTX_set_mode(made, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  ::SSL_CTX_clear_mode(made, SSL_MODE_AUTO_RETRY);
  ::SSL_CTX_clear_options(made, SSL_OP_ENABLE_MIDDLEBOX_COMPAT | SSL_OP_ALLOW_NO_DHE_KEX);
  if (role == secure_stream::side::client) {
    // A listener with a certificate in place of the key proves nothing: no authority is trusted.
    ::SSL_CTX_set_verify(made, SSL_VERIFY_PEER, nullptr);
    ::SSL_CTX_set_psk_use_session_callback(made, &offer_key);
  } else {
    ::SSL_CTX_set_psk_find_session_callback(made, &find_key);
  }
  return made;
}

SSL_CTX* context_of(secure_stream::side role) {
  static constinit std::array<std::atomic<SSL_CTX*>, 2> made{};
  return made_once(
      made.at(static_cast<std::size_t>(role)), [role] { return make_context(role); },
      &::SSL_CTX_free);
}

/// TLS wants a key of its hash's size, and troupe's may be of any.
psk derive(const std::string& key) {
  psk made{};
  unsigned length = 0;
  if (::HMAC(::EVP_sha256(), key.data(), static_cast<int>(key.size()),
             reinterpret_cast<const unsigned char*>(purpose.data()), purpose.size(), made.data(),
             &length) == nullptr ||
      length != made.size()) {
    fail_to_begin("OpenSSL makes no HMAC-SHA-256");
  }
  return made;
}

/// Whether an error of a handshake says that the keys differ.
bool is_refusal(secure_stream::side role, unsigned long code) {
  if (ERR_GET_LIB(code) != ERR_LIB_SSL) {
    return false;
  }
  const int reason = ERR_GET_REASON(code);
  if (role == secure_stream::side::listener) {
    return reason == SSL_R_BINDER_DOES_NOT_VERIFY;
  }
  return reason >= SSL_AD_REASON_OFFSET  // the listener said so
         || reason == SSL_R_CERTIFICATE_VERIFY_FAILED ||
         reason == SSL_R_DECRYPTION_FAILED_OR_BAD_RECORD_MAC || reason == SSL_R_DIGEST_CHECK_FAILED;
}

}  // namespace

struct secure_stream::tls {
  explicit tls(side of, const std::string& secret) : role{of}, key{derive(secret)} {
    ssl = ::SSL_new(context_of(of));
    BIO* const bio = ssl != nullptr ? ::BIO_new(socket_method()) : nullptr;
    if (bio == nullptr) {
      ::SSL_free(ssl);
      fail_to_begin("OpenSSL has no memory for a connection");
    }
    ::BIO_set_data(bio, &at);
    ::BIO_set_init(bio, 1);
    ::SSL_set_bio(ssl, bio, bio);
    SSL_set_app_data(ssl, &key);
    if (of == side::client) {
      ::SSL_set_connect_state(ssl);
    } else {
      ::SSL_set_accept_state(ssl);
    }
  }
  ~tls() {
    ::OPENSSL_cleanse(key.data(), key.size());
    ::SSL_free(ssl);
  }
  tls(const tls&) = delete;
  tls& operator=(const tls&) = delete;

  /// What went wrong in a call that returned `code`: 0 if the peer has ended as it should.
  [[nodiscard]] int error_of(int code) {
    if (code == SSL_ERROR_ZERO_RETURN) {
      return 0;
    }
    if (at.read_error != 0 && at.read_error != ECONNRESET) {
      failure = at.read_error;
    } else {
      failure = at.ended || at.read_error == ECONNRESET ? ECONNABORTED : EBADMSG;
    }
    return failure;
  }

  side role;
  psk key;
  raw_socket at;
  SSL* ssl = nullptr;
  int failure = 0;           // an errno, after which OpenSSL must not be called any more
  bool cannot_send = false;  // the farewell was sent, or sending has failed
};

secure_stream::secure_stream(side role, const std::string& key) : owner_{own_pid()} {
  if (has_ended()) {
    fail_to_begin(
        "this program is ending, and has shut down OpenSSL: no key can be proved any more");
  }
  tls_ = std::make_unique<tls>(role, key);
}

secure_stream::~secure_stream() {
  if (!is_ours() || has_ended()) {
    // Its memory may be in the middle of a change of another thread's, or OpenSSL's is gone.
    static_cast<void>(tls_.release());
    return;
  }
  say_farewell();
}

bool secure_stream::is_ours() const noexcept {
  return owner_ == own_pid();
}

secure_stream::progress secure_stream::shake_hands(int socket, std::string& why) {
  tls_->at.socket = socket;
  ::ERR_clear_error();
  const int result = ::SSL_do_handshake(tls_->ssl);
  const bool is_client = tls_->role == side::client;
  if (result == 1) {
    ::OPENSSL_cleanse(tls_->key.data(), tls_->key.size());
    // With a pre-shared key the session counts as an old one.
    if (::SSL_session_reused(tls_->ssl) != 1) {
      why = "the peer did not use our key";
      tls_->failure = EBADMSG;
      return progress::refused;
    }
    return progress::done;
  }
  const int wanted = ::SSL_get_error(tls_->ssl, result);
  if (wanted == SSL_ERROR_WANT_READ) {
    return progress::under_way;
  }
  tls_->failure = EBADMSG;
  if (is_refusal(tls_->role, ::ERR_peek_error())) {
    why = is_client ? "the listener has another key, or something is between it and us"
                    : "the client has another key, or something is between it and us";
    return progress::refused;
  }
  why = tls_->at.ended || tls_->at.read_error != 0 || tls_->at.write_error != 0
            ? "the peer ended before it had proven itself"
            : "the peer speaks another protocol";
  return progress::failed;
}

int secure_stream::wait_for(int wanted) const noexcept {
  pollfd one{socket_->number(),
             static_cast<short>(wanted == SSL_ERROR_WANT_WRITE ? POLLOUT : POLLIN), 0};
  const int ready = sys::poll_until({&one, 1}, std::nullopt);
  return ready < 0 ? -ready : 0;
}

sys::io_result secure_stream::write(std::span<const std::byte> bytes) {
  sys::io_result result;
  std::uint64_t before = 0;
  for (bool first = true; result.bytes < bytes.size(); first = false) {
    int wanted = SSL_ERROR_NONE;
    {
      const std::lock_guard lock{mutex_};
      if (tls_->failure != 0 || tls_->cannot_send || has_ended()) {
        result.error = EPIPE;
        return result;
      }
      before = first ? tls_->at.sent : before;
      ::ERR_clear_error();
      std::size_t sent = 0;
      const auto rest = bytes.subspan(result.bytes);
      const int code = ::SSL_write_ex(tls_->ssl, rest.data(), rest.size(), &sent);
      if (code == 1) {
        result.bytes += sent;
        continue;
      }
      wanted = ::SSL_get_error(tls_->ssl, code);
      if (wanted != SSL_ERROR_WANT_READ && wanted != SSL_ERROR_WANT_WRITE) {
        // What the peer has sent before it left can still be received.
        const int code_of_socket = tls_->at.write_error;
        tls_->failure = code_of_socket != 0 ? tls_->failure : EBADMSG;
        tls_->cannot_send = true;
        result.error = code_of_socket != 0 ? code_of_socket : EPIPE;
        result.bytes = std::max<std::size_t>(result.bytes, tls_->at.sent != before ? 1 : 0);
        return result;
      }
    }
    result.error = wait_for(wanted);
    if (result.error != 0) {
      return result;
    }
  }
  return result;
}

sys::io_result secure_stream::send_all(std::span<const std::byte> first,
                                       std::span<const std::byte> second) {
  // What begins a message and the message itself in one record, if they fit.
  std::array<std::byte, record_bytes> begin;
  const std::size_t of_first = std::min(first.size(), begin.size());
  std::copy_n(first.begin(), of_first, begin.begin());
  const std::size_t of_second =
      of_first == first.size() ? std::min(second.size(), begin.size() - of_first) : 0;
  std::copy_n(second.begin(), of_second, begin.begin() + static_cast<std::ptrdiff_t>(of_first));
  sys::io_result all;
  for (const auto part : {std::span<const std::byte>{begin}.first(of_first + of_second),
                          first.subspan(of_first), second.subspan(of_second)}) {
    const sys::io_result sent = write(part);
    all.bytes += sent.bytes;
    all.error = sent.error;
    if (all.error != 0) {
      return all;
    }
  }
  // The farewell, which does not wait, must find room when this end is closed right after this.
  all.error = wait_for(SSL_ERROR_WANT_WRITE);
  return all;
}

sys::io_result secure_stream::receive_some(std::span<std::byte> to) {
  sys::io_result result;
  for (;;) {
    int wanted = SSL_ERROR_NONE;
    {
      const std::lock_guard lock{mutex_};
      if (tls_->failure != 0 || has_ended()) {
        result.error = tls_->failure != 0 ? tls_->failure : ECONNABORTED;
        return result;
      }
      ::ERR_clear_error();
      const int code = ::SSL_read_ex(tls_->ssl, to.data(), to.size(), &result.bytes);
      if (code == 1) {
        return result;
      }
      result.bytes = 0;
      wanted = ::SSL_get_error(tls_->ssl, code);
      if (wanted != SSL_ERROR_WANT_READ && wanted != SSL_ERROR_WANT_WRITE) {
        result.error = tls_->error_of(wanted);
        return result;
      }
    }
    result.error = wait_for(wanted);
    if (result.error != 0) {
      return result;
    }
  }
}

sys::io_result secure_stream::receive_all(std::span<std::byte> to) {
  sys::io_result result;
  while (result.bytes < to.size()) {
    const sys::io_result part = receive_some(to.subspan(result.bytes));
    result.bytes += part.bytes;
    result.error = part.error;
    if (part.bytes == 0) {
      return result;
    }
  }
  return result;
}

bool secure_stream::poll(const deadline& until) {
  for (;;) {
    int wanted = SSL_ERROR_NONE;
    {
      const std::lock_guard lock{mutex_};
      if (tls_->failure != 0 || has_ended()) {
        return true;
      }
      ::ERR_clear_error();
      std::byte next{};
      std::size_t count = 0;
      const int code = ::SSL_peek_ex(tls_->ssl, &next, 1, &count);
      if (code == 1) {
        return true;
      }
      wanted = ::SSL_get_error(tls_->ssl, code);
      if (wanted != SSL_ERROR_WANT_READ && wanted != SSL_ERROR_WANT_WRITE) {
        static_cast<void>(tls_->error_of(wanted));
        return true;
      }
    }
    pollfd one{socket_->number(), POLLIN, 0};
    if (sys::poll_until({&one, 1}, until) <= 0) {
      return false;
    }
  }
}

bool secure_stream::has_rest() {
  const std::lock_guard lock{mutex_};
  return !has_ended() && ::SSL_pending(tls_->ssl) > 0;
}

void secure_stream::say_farewell() noexcept {
  const std::lock_guard lock{mutex_};
  if (tls_->failure != 0 || tls_->cannot_send || socket_ == nullptr || has_ended()) {
    return;
  }
  tls_->cannot_send = true;
  ::ERR_clear_error();
  static_cast<void>(::SSL_shutdown(tls_->ssl));
}

void secure_stream::cut() noexcept {
  ::shutdown(socket_->number(), SHUT_RDWR);
}

}  // namespace troupe::detail
