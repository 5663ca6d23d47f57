// SPDX-License-Identifier: BSD-3-Clause
#include "shared/export/export_proxies.hpp"

#include "troupe/error.hpp"

#include "os/process_identity.hpp"
#include "os/sys.hpp"
#include "shared/core/proxy.hpp"

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

/// Proxies without anything to do that wait for more.
constexpr std::size_t most_idle = 8;

struct request {
  std::uint64_t number = 0;
  std::vector<std::byte> message;
};

/// The request's object and operation; its arguments follow.
struct asked {
  std::uint64_t object = 0;
  remote_op what{};

  explicit asked(input_archive& ar) {
    std::uint8_t kind = 0;
    std::uint64_t number = 0;
    std::uint64_t thread = 0;
    std::uint16_t operation = 0;
    ar(kind, number, thread, object, operation);
    what = static_cast<remote_op>(operation);
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

class export_proxies::proxy final : public export_thread {
 public:
  explicit proxy(export_proxies& all) : all_{all} {
    const sys::blocked_signals no_handlers_on_our_thread;
    thread_ = std::thread{[this] { all_.work(*this); }};
  }
  ~proxy() override {
    thread_.join();
    // The kernel lets go of it a moment after it was joined. Not before that may an object be
    // unmapped whose lock it had.
    while (!locks_.empty() && is_thread_of_this_process(id_)) {
      std::this_thread::yield();
    }
  }
  proxy(const proxy&) = delete;
  proxy& operator=(const proxy&) = delete;

  // What the others set, guarded by the mutex of all. No annotation: the analysis cannot know that
  // `all_` of a proxy is the object whose mutex they hold.
  std::deque<request> inbox;
  std::uint64_t thread = 0;  ///< the remote one it belongs to
  guarded_condition came;
  std::atomic<bool> dismissed{false};
  bool finished = false;

  void begin() noexcept {
    id_ = own_thread();
    this_proxy_dismissed = &dismissed;
  }
  /// Throws proxy_dismissed.
  [[nodiscard]] request next() {
    mutex_lock lock{all_.mutex_};
    while (!dismissed.load() && inbox.empty()) {
      came.wait(lock);
    }
    leave_if_dismissed();
    request first = std::move(inbox.front());
    inbox.pop_front();
    return first;
  }
  void handle(const request& what);
  [[nodiscard]] bool has_locks() const noexcept { return !locks_.empty(); }

  [[nodiscard]] std::shared_ptr<exported_here> find(std::uint64_t id) override {
    if (auto found = all_.exported_.find(id)) {
      return found;
    }
    throw error{errc::protocol_error, task_ran::no,
                "troupe: there is no shared object " + std::to_string(id) +
                    " that was exported to this process"};
  }
  void took(const std::shared_ptr<region>& lock) override { locks_.push_back(lock); }
  void gave(const std::shared_ptr<region>& lock) noexcept override {
    if (const auto at = std::ranges::find(locks_, lock); at != locks_.end()) {
      locks_.erase(at);
    }
  }
  void let_act(const exported_here& barrier) override;
  void save(output_archive& ar, const attachment_list& attachments) override {
    all_.exported_.save(ar, attachments);
  }
  attachment_list load(input_archive& ar) override { return all_.exported_.load(ar); }

 private:
  /// Whether the action was called and did not throw; nothing: it was something else.
  [[nodiscard]] static std::optional<bool> read_acted(const request& what,
                                                      const exported_here& barrier);

  export_proxies& all_;
  std::thread thread_;
  std::uint64_t id_ = 0;
  std::uint64_t number_ = 0;                    ///< of the request that is to be answered
  std::vector<std::shared_ptr<region>> locks_;  ///< that it has, each level
};

void export_proxies::proxy::handle(const request& what) {
  number_ = what.number;
  byte_buffer answer;
  std::vector<std::byte> failed;
  try {
    output_archive out{answer};
    out(std::uint64_t{0}, std::uint8_t{0});
    input_archive in{what.message};
    const asked parsed{in};
    const auto on = find(parsed.object);
    this_proxy = {.object = on->object.get(), .slot = on->slot};
    perform(*this, *on, parsed.what, in, out);
  } catch (const proxy_dismissed&) {
    throw;
  } catch (...) {  // whatever it is, it goes to the thread that asked
    failed = failed_answer(number_, std::current_exception());
  }
  this_proxy = {};
  if (failed.empty()) {
    write_header(answer, number_, answer_status::done);
    all_.send_(answer.bytes());
  } else {
    all_.send_(failed);
  }
}

std::optional<bool> export_proxies::proxy::read_acted(const request& what,
                                                      const exported_here& barrier) {
  try {
    input_archive in{what.message};
    const asked parsed{in};
    bool well = false;
    in(well);
    in.finish(typeid(bool));
    if (parsed.what == remote_op::acted && parsed.object == barrier.object->id()) {
      return well;
    }
  } catch (const error&) {  // NOLINT(bugprone-empty-catch): then it is something else
  }
  return std::nullopt;
}

void export_proxies::proxy::let_act(const exported_here& barrier) {
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

export_proxies::export_proxies(exporting& exported, send_answer send)
    : exported_{exported}, send_{std::move(send)} {}

export_proxies::~export_proxies() {
  end();
}

void export_proxies::run(std::uint64_t number, std::uint64_t thread,
                         std::span<const std::byte> message) {
  reap(false);
  const mutex_guard lock{mutex_};
  if (over_) {
    return;
  }
  proxy*& of_thread = busy_[thread];
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
        all_.push_back(std::make_unique<proxy>(*this));
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

void export_proxies::thread_ended(std::uint64_t thread) noexcept {
  const mutex_guard lock{mutex_};
  if (const auto at = busy_.find(thread); at != busy_.end()) {
    at->second->dismissed = true;
    at->second->came.notify_one();
    busy_.erase(at);
  }
}

void export_proxies::end() noexcept {
  {
    const mutex_guard lock{mutex_};
    over_ = true;
    for (const auto& one : all_) {
      one->dismissed = true;
      one->came.notify_one();
    }
  }
  reap(true);
}

void export_proxies::work(proxy& me) {
  me.begin();
  try {
    for (;;) {
      me.handle(me.next());
      const mutex_guard lock{mutex_};
      if (me.inbox.empty() && !me.has_locks() && !me.dismissed) {
        busy_.erase(me.thread);
        if (idle_.size() >= most_idle) {
          break;
        }
        idle_.push_back(&me);
      }
    }
  } catch (const proxy_dismissed&) {  // NOLINT(bugprone-empty-catch): it goes
  }
  const mutex_guard lock{mutex_};
  me.finished = true;
}

void export_proxies::reap(bool all) noexcept {
  std::list<std::unique_ptr<proxy>> gone;
  {
    const mutex_guard lock{mutex_};
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
