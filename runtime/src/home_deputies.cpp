// SPDX-License-Identifier: BSD-3-Clause
#include "home_deputies.hpp"

#include "troupe/error.hpp"

#include "deputy.hpp"
#include "process_identity.hpp"
#include "sys.hpp"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <deque>
#include <exception>
#include <optional>
#include <string>
#include <utility>

namespace troupe::detail {
namespace {

/// Deputies without anything to do that wait for more.
constexpr std::size_t most_idle = 8;

struct request {
  std::uint64_t number = 0;
  std::vector<std::byte> message;
};

/// The request's object and operation; its arguments follow.
struct asked {
  std::uint64_t object = 0;
  far_op what{};

  explicit asked(input_archive& ar) {
    std::uint8_t kind = 0;
    std::uint64_t number = 0;
    std::uint64_t thread = 0;
    std::uint16_t operation = 0;
    ar(kind, number, thread, object, operation);
    what = static_cast<far_op>(operation);
  }
};

void write_header(byte_buffer& answer, std::uint64_t number, answer_status status) {
  std::memcpy(answer.data(), &number, sizeof number);
  answer.data()[answer_header_bytes - 1] = static_cast<std::byte>(status);
}

}  // namespace

std::vector<std::byte> failed_answer(std::uint64_t number, const std::exception_ptr& why) {
  byte_buffer answer;
  output_archive ar{answer};
  ar(number, static_cast<std::uint8_t>(answer_status::failed));
  ar(capture_failure(why));
  return {answer.bytes().begin(), answer.bytes().end()};
}

class home_deputies::deputy final : public home_thread {
 public:
  explicit deputy(home_deputies& all) : all_{all} {
    const sys::blocked_signals no_handlers_on_our_thread;
    thread_ = std::thread{[this] { all_.work(*this); }};
  }
  ~deputy() override {
    thread_.join();
    // The kernel lets go of it a moment after it was joined. Not before that may an object be
    // unmapped whose lock it had.
    while (!locks_.empty() && is_thread_of_this_process(id_)) {
      std::this_thread::yield();
    }
  }
  deputy(const deputy&) = delete;
  deputy& operator=(const deputy&) = delete;

  // What the others set, under the lock of all.
  std::deque<request> inbox;
  std::uint64_t thread = 0;  ///< whose it is
  std::condition_variable came;
  std::atomic<bool> dismissed{false};
  bool finished = false;

  void begin() noexcept {
    id_ = own_thread();
    this_deputy_dismissed = &dismissed;
  }
  /// Throws deputy_dismissed.
  [[nodiscard]] request next() {
    std::unique_lock lock{all_.mutex_};
    came.wait(lock, [&] { return dismissed.load() || !inbox.empty(); });
    leave_if_dismissed();
    request first = std::move(inbox.front());
    inbox.pop_front();
    return first;
  }
  void handle(const request& what);
  [[nodiscard]] bool has_locks() const noexcept { return !locks_.empty(); }

  [[nodiscard]] std::shared_ptr<lent_here> find(std::uint64_t id) override {
    if (auto found = all_.lent_.find(id)) {
      return found;
    }
    throw error{errc::protocol_error, task_ran::no,
                "troupe: there is no shared object " + std::to_string(id) +
                    " that was lent to this process"};
  }
  void took(const std::shared_ptr<region>& lock) override { locks_.push_back(lock); }
  void gave(const std::shared_ptr<region>& lock) noexcept override {
    if (const auto at = std::ranges::find(locks_, lock); at != locks_.end()) {
      locks_.erase(at);
    }
  }
  void let_act(const lent_here& barrier) override;
  void save(output_archive& ar, const cargo_list& cargo) override { all_.lent_.save(ar, cargo); }
  cargo_list load(input_archive& ar) override { return all_.lent_.load(ar); }

 private:
  /// Whether the action was called and did not throw; nothing: it was something else.
  [[nodiscard]] static std::optional<bool> read_acted(const request& what,
                                                      const lent_here& barrier);

  home_deputies& all_;
  std::thread thread_;
  std::uint32_t id_ = 0;
  std::uint64_t number_ = 0;                    ///< of the request that is to be answered
  std::vector<std::shared_ptr<region>> locks_;  ///< that it has, each level
};

void home_deputies::deputy::handle(const request& what) {
  number_ = what.number;
  byte_buffer answer;
  std::vector<std::byte> failed;
  try {
    output_archive out{answer};
    out(std::uint64_t{0}, std::uint8_t{0});
    input_archive in{what.message};
    const asked parsed{in};
    const auto on = find(parsed.object);
    this_deputy = {.object = on->object.get(), .slot = on->slot};
    perform(*this, *on, parsed.what, in, out);
  } catch (const deputy_dismissed&) {
    throw;
  } catch (...) {  // whatever it is, it goes to who asked
    failed = failed_answer(number_, std::current_exception());
  }
  this_deputy = {};
  if (failed.empty()) {
    write_header(answer, number_, answer_status::done);
    all_.send_(answer.bytes());
  } else {
    all_.send_(failed);
  }
}

std::optional<bool> home_deputies::deputy::read_acted(const request& what,
                                                      const lent_here& barrier) {
  try {
    input_archive in{what.message};
    const asked parsed{in};
    bool well = false;
    in(well);
    in.finish(typeid(bool));
    if (parsed.what == far_op::acted && parsed.object == barrier.object->id()) {
      return well;
    }
  } catch (const error&) {  // NOLINT(bugprone-empty-catch): then it is something else
  }
  return std::nullopt;
}

void home_deputies::deputy::let_act(const lent_here& barrier) {
  byte_buffer answer;
  output_archive{answer}(std::uint64_t{0}, std::uint8_t{0});
  write_header(answer, number_, answer_status::act);
  all_.send_(answer.bytes());
  for (;;) {
    const request came_next = next();
    if (const auto acted = read_acted(came_next, barrier)) {
      number_ = came_next.number;
      if (!*acted) {
        throw broken_barrier{"troupe: the barrier is broken: its action threw"};
      }
      return;
    }
    all_.send_(failed_answer(
        came_next.number,
        std::make_exception_ptr(error{errc::protocol_error, task_ran::no,
                                      "troupe: the thread is calling the action of a barrier"})));
  }
}

home_deputies::home_deputies(lending& lent, send_answer send)
    : lent_{lent}, send_{std::move(send)} {}

home_deputies::~home_deputies() {
  end();
}

void home_deputies::run(std::uint64_t number, std::uint64_t thread,
                        std::span<const std::byte> message) {
  reap(false);
  const std::lock_guard lock{mutex_};
  if (over_) {
    return;
  }
  deputy*& of_thread = busy_[thread];
  if (of_thread == nullptr) {
    if (!idle_.empty()) {
      of_thread = idle_.back();
      idle_.pop_back();
    } else {
      try {
        if (all_.size() >= most) {
          throw error{errc::resource_exhausted, task_ran::no,
                      "troupe: " + std::to_string(most) +
                          " threads of one process on another machine wait here or have locks, "
                          "which is the most there can be"};
        }
        all_.push_back(std::make_unique<deputy>(*this));
      } catch (...) {
        busy_.erase(thread);
        throw;
      }
      of_thread = all_.back().get();
    }
    of_thread->thread = thread;
  } else if (!of_thread->inbox.empty()) {
    throw error{errc::protocol_error, task_ran::no,
                "troupe: a thread asks before it has heard the last answer"};
  }
  of_thread->inbox.push_back({number, {message.begin(), message.end()}});
  of_thread->came.notify_one();
}

void home_deputies::thread_ended(std::uint64_t thread) noexcept {
  const std::lock_guard lock{mutex_};
  if (const auto at = busy_.find(thread); at != busy_.end()) {
    at->second->dismissed = true;
    at->second->came.notify_one();
    busy_.erase(at);
  }
}

void home_deputies::end() noexcept {
  {
    const std::lock_guard lock{mutex_};
    over_ = true;
    for (const auto& one : all_) {
      one->dismissed = true;
      one->came.notify_one();
    }
  }
  reap(true);
}

void home_deputies::work(deputy& me) {
  me.begin();
  try {
    for (;;) {
      me.handle(me.next());
      const std::lock_guard lock{mutex_};
      if (me.inbox.empty() && !me.has_locks() && !me.dismissed) {
        busy_.erase(me.thread);
        if (idle_.size() >= most_idle) {
          break;
        }
        idle_.push_back(&me);
      }
    }
  } catch (const deputy_dismissed&) {  // NOLINT(bugprone-empty-catch): it goes
  }
  const std::lock_guard lock{mutex_};
  me.finished = true;
}

void home_deputies::reap(bool all) noexcept {
  std::list<std::unique_ptr<deputy>> gone;
  {
    const std::lock_guard lock{mutex_};
    for (auto at = all_.begin(); at != all_.end();) {
      const auto next = std::next(at);
      if (all || (*at)->finished) {
        gone.splice(gone.end(), all_, at);
      }
      at = next;
    }
    if (all) {
      busy_.clear();
      idle_.clear();
    }
  }
  gone.clear();  // joins them
}

}  // namespace troupe::detail
