// SPDX-License-Identifier: BSD-3-Clause
// A place for a pool's supervisor without processes: workers are objects of the test, which hold
// the worker's end of a real channel and do what the test says, and time passes when it says so.
#pragma once

#include "troupe/error.hpp"
#include "troupe/pool_options.hpp"

#include "channel/channel.hpp"
#include "channel/segment.hpp"
#include "host/worker_host.hpp"

#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace troupe::test {

class fake_worker_host;

/// A worker as its supervisor sees one. Nothing happens to it but what the test says.
class fake_worker {
 public:
  /// A task in its ring, or one that it has claimed.
  struct task {
    std::uint64_t number = 0;      ///< of the channel
    std::uint64_t submission = 0;  ///< number of its submission
    std::uint32_t attempt = 0;
    bool announce = false;
    std::string arguments{};
  };

  fake_worker(detail::worker_host::start_order order,
              std::shared_ptr<detail::process_observer> owner);

  [[nodiscard]] std::uint64_t id() const noexcept { return id_; }
  [[nodiscard]] std::int64_t pid() const noexcept {
    return 100'000 + static_cast<std::int64_t>(id_);
  }

  // Its life. The supervisor hears of each step in `fake_worker_host::run`.
  /// The process is there.
  void start();
  /// There is no process: `code` is an errno.
  void refuse_to_start(int code);
  void say_hello();
  /// The same by another program than the one that started it.
  void say_hello_of_another_build();
  void say_ready();
  /// The same, and the supervisor hears of it only with what comes next.
  void say_ready_unheard();
  void fail_initializer(const std::string& text);
  /// start, say_hello, say_ready.
  void come_up();
  void exit(int code);
  void die_of(int signal);
  /// Its fork server has died, and took it along.
  void die_with_server();
  /// The channel ends, and the process does not yet.
  void close_channel();

  [[nodiscard]] bool launched() const noexcept { return state_ == state::launched; }
  [[nodiscard]] bool running() const noexcept { return state_ == state::running; }
  [[nodiscard]] bool ended() const noexcept { return state_ == state::ended; }
  [[nodiscard]] bool greeted() const noexcept { return greeted_; }
  [[nodiscard]] bool ready() const noexcept { return ready_; }
  [[nodiscard]] bool has_channel() const noexcept { return channel_ != nullptr; }
  /// Signals that it got, in order.
  [[nodiscard]] const std::vector<int>& signals() const noexcept { return signals_; }
  [[nodiscard]] bool got(int signal) const;
  /// It was told to leave by a frame.
  [[nodiscard]] bool told_to_stop() const noexcept { return told_to_stop_; }
  /// Tasks that were asked to end by a frame.
  [[nodiscard]] const std::vector<std::uint64_t>& asked_to_stop() const noexcept {
    return asked_to_stop_;
  }

  // Its tasks.
  /// Takes in what is in its ring.
  void read();
  /// Tasks that it has read and neither claimed nor found to be taken back.
  [[nodiscard]] std::size_t waiting() const noexcept { return waiting_.size(); }
  std::size_t read_and_count() {
    read();
    return waiting();
  }
  /// Claims the next task that was not taken back; nothing: there is none. Announces its begin.
  std::optional<task> claim();
  /// What it has claimed and given no result for, in that order.
  [[nodiscard]] const std::deque<task>& claimed() const noexcept { return claimed_; }
  /// The value of a claimed task. `took`: what it says that it ran.
  void give(std::uint64_t number, const std::string& value,
            std::chrono::nanoseconds took = std::chrono::milliseconds{5});
  /// The same, and the supervisor hears of it only with what comes next, or when nothing is left to
  /// claim.
  void give_unheard(std::uint64_t number, const std::string& value,
                    std::chrono::nanoseconds took = std::chrono::milliseconds{5});
  void give_failure(std::uint64_t number, errc code, const std::string& text);
  void give_failure_unheard(std::uint64_t number, errc code, const std::string& text);
  /// Claims all that waits, one after the other, and gives the arguments back as values.
  void echo_all(std::chrono::nanoseconds took = std::chrono::milliseconds{5});
  /// A frame that no worker sends.
  void talk_nonsense();
  void talk_nonsense_unheard();

  // Tasks of its task.
  void open_outcomes();
  void submit(std::uint64_t ticket, const std::string& arguments);
  void cancel_submission(std::uint64_t ticket);
  /// The next outcome that came, as its ticket and its value ("failed" for a failure).
  std::optional<std::pair<std::uint64_t, std::string>> outcome();

 private:
  friend class fake_worker_host;
  enum class state : std::uint8_t { launched, running, ended };

  void send_hello(std::uint8_t other_build);
  void push(detail::frame_kind kind, std::uint16_t flags, std::uint64_t number,
            const std::string& payload);
  void end(std::uint8_t kind, int value, bool with_server = false);
  void drop_claimed(std::uint64_t number);

  const std::uint64_t id_;
  std::shared_ptr<detail::process_observer> owner_;
  detail::channel_ends ends_;
  std::unique_ptr<detail::worker_channel> channel_;
  state state_ = state::launched;
  bool greeted_ = false;
  bool ready_ = false;
  bool told_to_stop_ = false;
  std::vector<int> signals_;
  std::vector<std::uint64_t> asked_to_stop_;
  std::deque<task> waiting_;
  std::deque<task> claimed_;
  detail::descriptor outcomes_;
};

/// @threads one at a time.
class fake_worker_host final : public detail::pool_host {
 public:
  fake_worker_host();
  ~fake_worker_host() override;

  std::uint64_t enroll(const std::shared_ptr<detail::process_observer>& owner) override;
  void dismiss(std::uint64_t worker) override;
  void watch(int socket, std::function<void()> ready) override;
  void unwatch(int socket) override;
  void launch(start_order what) override;
  void signal(std::uint64_t worker, int number) override;
  [[nodiscard]] steady_time now() const override { return now_; }
  void call_at(steady_time when, std::function<void()> function) override;
  [[nodiscard]] const std::string& host_name() const override { return name_; }
  [[nodiscard]] std::uint64_t resident_bytes(std::int64_t pid) const override;
  [[nodiscard]] caf::actor_system& actors() noexcept override;
  [[nodiscard]] const std::shared_ptr<detail::callback_threads>& callbacks()
      const noexcept override {
    return callbacks_;
  }
  [[nodiscard]] const std::shared_ptr<detail::segment_pool>& segments() const noexcept override {
    return segments_;
  }
  [[nodiscard]] bool can_wait() const noexcept override { return true; }
  void pool_ended() override { ++pools_ended_; }

  /// Calls back for everything that arrived at watched sockets, until nothing does.
  void run();
  /// Time passes, and what is due by then is called in its order; then `run`.
  void advance(std::chrono::milliseconds by);
  /// When something is due next.
  [[nodiscard]] std::optional<steady_time> next_timer() const;

  /// All workers that were launched and have not been dismissed, in that order.
  [[nodiscard]] std::vector<fake_worker*> workers();
  /// The one with that place among them.
  [[nodiscard]] fake_worker& worker(std::size_t index) { return *workers().at(index); }
  /// Those that were launched come up; true if there were any.
  bool come_up();
  /// Launched so far.
  [[nodiscard]] std::uint64_t launches() const noexcept { return launches_; }
  void set_resident_bytes(std::int64_t pid, std::uint64_t bytes) { resident_[pid] = bytes; }
  [[nodiscard]] int pools_ended() const noexcept { return pools_ended_; }

 private:
  std::shared_ptr<detail::callback_threads> callbacks_;
  std::shared_ptr<detail::segment_pool> segments_;
  std::string name_ = "nowhere";
  steady_time now_ = steady_time{} + std::chrono::hours{1};
  std::multimap<steady_time, std::function<void()>> timers_;
  detail::descriptor epoll_;
  std::map<int, std::function<void()>> watched_;
  std::map<std::uint64_t, std::weak_ptr<detail::process_observer>> owners_;
  std::map<std::uint64_t, std::unique_ptr<fake_worker>> workers_;
  std::vector<std::unique_ptr<fake_worker>> gone_;  // until the next run: the test may have one
  std::map<std::int64_t, std::uint64_t> resident_;
  std::uint64_t next_id_ = 1;
  std::uint64_t launches_ = 0;
  int pools_ended_ = 0;
};

}  // namespace troupe::test
