// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/codec.hpp"
#include "troupe/detail/attachment.hpp"

#include "shared/remote/object_sink.hpp"

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

/// Another machine in this process: an export_session and an import_session, and between them two
/// threads that carry copies of bytes. What crosses is nothing but bytes, so that handles which
/// were exported know the object by messages only.
class link_double {
 public:
  enum direction : std::size_t { to_exporter, to_remote };

  link_double()
      : exporter_{std::make_unique<one_way>(ways_[to_remote])},
        remote_{std::make_unique<one_way>(ways_[to_exporter])} {
    for (const direction where : {to_exporter, to_remote}) {
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
  [[nodiscard]] T to_importer(const T& value) {
    return moved(value, exporter_, remote_);
  }
  /// The same, back at the exporter.
  template <class T>
  [[nodiscard]] T bring_back(const T& value) {
    return moved(value, remote_, exporter_);
  }

  /// Both sides are told.
  void cut() {
    stop_carrying();
    remote_.end();
    exporter_.end();
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
  /// What the exporter makes of bytes that no import_session sent.
  void inject(std::span<const std::byte> message) {
    const std::vector<std::byte> copy{message.begin(), message.end()};
    exporter_.receive(copy);
  }
  /// The last message that was sent there.
  [[nodiscard]] std::vector<std::byte> last(direction where) {
    const std::lock_guard lock{ways_[where].mutex};
    return ways_[where].last;
  }

  [[nodiscard]] detail::export_session& exporter() noexcept { return exporter_; }
  [[nodiscard]] detail::import_session& remote() noexcept { return remote_; }

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
  class one_way final : public detail::object_sink {
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
    for (const direction where : {to_exporter, to_remote}) {
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
        if (where == to_exporter) {
          exporter_.receive(message);
        } else {
          remote_.receive(message);
        }
      }
    }
  }
  template <class T, class From, class To>
  static T moved(const T& value, From& from, To& to) {
    detail::byte_buffer bytes;
    detail::attachment_list attachments;
    {
      const detail::attachment_collector scope{attachments, detail::attachment_route::link};
      encode(bytes, value);
    }
    const std::vector<std::byte> names = from.pack(attachments);
    const detail::attachment_list arrived = to.unpack(names);
    const detail::attachment_source scope{arrived};
    return decode<T>(bytes.bytes());
  }

  std::array<way, 2> ways_;
  detail::export_session exporter_;
  detail::import_session remote_;
};

}  // namespace troupe::test
