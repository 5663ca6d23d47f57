// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/codec.hpp"
#include "troupe/detail/cargo.hpp"
#include "troupe/detail/object_link.hpp"

#include <array>
#include <condition_variable>
#include <cstddef>
#include <deque>
#include <memory>
#include <mutex>
#include <span>
#include <stdexcept>
#include <thread>
#include <utility>
#include <vector>

namespace troupe::test {

/// Another machine in this process: a home_session and a remote_session, and between them two
/// threads that carry copies of bytes. What crosses is nothing but bytes, so that handles which
/// were lent know the object by messages only.
class link_double {
 public:
  enum direction : std::size_t { to_home, to_remote };

  link_double()
      : home_{std::make_unique<one_way>(ways_[to_remote])},
        remote_{std::make_unique<one_way>(ways_[to_home])} {
    for (const direction where : {to_home, to_remote}) {
      ways_[where].carrier = std::thread{[this, where] { carry(where); }};
    }
  }
  ~link_double() {
    cut();
    for (way& one : ways_) {
      one.carrier.join();
    }
  }
  link_double(const link_double&) = delete;
  link_double& operator=(const link_double&) = delete;

  /// The handle as it arrives on the other machine.
  template <class T>
  [[nodiscard]] T lend(const T& value) {
    return moved(value, home_, remote_);
  }
  /// The same, back at home.
  template <class T>
  [[nodiscard]] T bring_home(const T& value) {
    return moved(value, remote_, home_);
  }

  /// Both sides are told.
  void cut() {
    stop_carrying();
    remote_.end();
    home_.end();
  }
  /// Instead of delivering the next message that goes there.
  void cut_instead_of_next(direction where) {
    change(where, [](way& one) { one.cuts = true; });
  }
  /// Every message comes twice from now on.
  void duplicate(direction where) {
    change(where, [](way& one) { one.doubles = true; });
  }
  /// Nothing arrives until `go_on`.
  void hold(direction where) {
    change(where, [](way& one) { one.held = true; });
  }
  void go_on(direction where) {
    change(where, [](way& one) { one.held = false; });
  }
  /// How many messages wait or were delivered.
  [[nodiscard]] std::size_t sent(direction where) {
    const std::lock_guard lock{ways_[where].mutex};
    return ways_[where].sent;
  }
  /// What home makes of bytes that no remote_session sent.
  void inject(std::span<const std::byte> message) {
    const std::vector<std::byte> copy{message.begin(), message.end()};
    home_.receive(copy);
  }
  /// The last message that was sent there.
  [[nodiscard]] std::vector<std::byte> last(direction where) {
    const std::lock_guard lock{ways_[where].mutex};
    return ways_[where].last;
  }

  [[nodiscard]] detail::home_session& home() noexcept { return home_; }
  [[nodiscard]] detail::remote_session& remote() noexcept { return remote_; }

 private:
  struct way {
    std::mutex mutex;
    std::condition_variable changed;
    std::deque<std::vector<std::byte>> messages;
    std::vector<std::byte> last;
    std::size_t sent = 0;
    bool held = false;
    bool cuts = false;
    bool doubles = false;
    bool over = false;
    std::thread carrier;
  };
  class one_way final : public detail::object_link {
   public:
    explicit one_way(way& along) : along_{along} {}
    void send(std::vector<std::byte> message) override {
      const std::lock_guard lock{along_.mutex};
      if (along_.over) {
        throw std::runtime_error{"the link is cut"};
      }
      along_.last = message;
      along_.messages.push_back(std::move(message));
      ++along_.sent;
      along_.changed.notify_all();
    }

   private:
    way& along_;
  };

  template <class Change>
  void change(direction where, Change how) {
    const std::lock_guard lock{ways_[where].mutex};
    how(ways_[where]);
    ways_[where].changed.notify_all();
  }
  void stop_carrying() {
    for (const direction where : {to_home, to_remote}) {
      change(where, [](way& one) { one.over = true; });
    }
  }
  void carry(direction where) {
    way& along = ways_[where];
    for (;;) {
      std::vector<std::byte> message;
      int times = 1;
      {
        std::unique_lock lock{along.mutex};
        along.changed.wait(lock,
                           [&] { return along.over || (!along.held && !along.messages.empty()); });
        if (along.over) {
          return;
        }
        if (along.cuts) {
          lock.unlock();
          return cut();
        }
        message = std::move(along.messages.front());
        along.messages.pop_front();
        times = along.doubles ? 2 : 1;
      }
      for (; times != 0; --times) {
        if (where == to_home) {
          home_.receive(message);
        } else {
          remote_.receive(message);
        }
      }
    }
  }
  template <class T, class From, class To>
  static T moved(const T& value, From& from, To& to) {
    detail::byte_buffer bytes;
    detail::cargo_list cargo;
    {
      const detail::cargo_loading scope{cargo, detail::cargo_way::link};
      encode(bytes, value);
    }
    const std::vector<std::byte> names = from.pack(cargo);
    const detail::cargo_list arrived = to.unpack(names);
    const detail::cargo_unloading scope{arrived};
    return decode<T>(bytes.bytes());
  }

  std::array<way, 2> ways_;
  detail::home_session home_;
  detail::remote_session remote_;
};

}  // namespace troupe::test
