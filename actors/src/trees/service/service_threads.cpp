// SPDX-License-Identifier: BSD-3-Clause
#include "trees/service/service_threads.hpp"

#include "troupe/error.hpp"

#include "base/thread_safety.hpp"
#include "os/library_thread.hpp"

#include <algorithm>
#include <chrono>
#include <system_error>
#include <thread>
#include <utility>

namespace troupe::detail {
namespace {

/// Coroutines that compute keep others waiting, so there are several; more than the machine can run
/// would help none of them.
constexpr unsigned most_threads = 4;
/// How long the end of a tree waits for a thread that an abandoned service may keep.
constexpr std::chrono::seconds patience{1};

class said_host final : public service_host {
 public:
  explicit said_host(service_threads::listener said) : said_{std::move(said)} {}
  void say(line_kind what, std::string_view text, bool /*wait*/) noexcept override {
    said_(what, text);
  }

 private:
  service_threads::listener said_;
};

}  // namespace

/// A thread of coroutines, which has a share in it.
struct service_threads::seat {
  std::shared_ptr<coroutine_thread> loop = std::make_shared<coroutine_thread>();
  bool abandoned = false;  // a service in it was; the tree's thread's
  guarded_mutex mutex;
  guarded_condition changed;
  bool over TROUPE_GUARDED_BY(mutex) = false;

  void run() {
    loop->run();
    loop->drop_rest();
    const mutex_guard lock{mutex};
    over = true;
    changed.notify_all();
  }
  void join() {
    const auto until = std::chrono::steady_clock::now() + patience;
    mutex_lock lock{mutex};
    bool in_time = true;
    while (!over && in_time) {
      if (abandoned) {
        in_time = changed.wait_until(lock, until);
      } else {
        changed.wait(lock);
      }
    }
  }
};

service_threads::~service_threads() {
  for (const auto& one : seats_) {
    one->loop->end();
  }
  for (const auto& one : seats_) {
    one->join();
  }
}

std::shared_ptr<service_host> service_threads::make_host(listener said) {
  return std::make_shared<said_host>(std::move(said));
}

void service_threads::start(const std::string& name, std::function<void()> run) {
  try {
    start_thread(name, std::move(run));
  } catch (const std::system_error& problem) {
    throw error{errc::resource_exhausted, task_ran::no,
                "troupe: no thread for a service: " + std::string{problem.what()}};
  }
}

void service_threads::run_aside(std::function<void()> run) {
  try {
    start_thread("troupe-stop", run);
  } catch (const std::system_error&) {
    run();
  }
}

std::shared_ptr<coroutine_thread> service_threads::next() {
  const std::size_t wanted = std::clamp(std::thread::hardware_concurrency(), 1U, most_threads);
  if (seats_.size() < wanted) {
    const auto made = std::make_shared<seat>();
    start("troupe-service", [made] { made->run(); });
    seats_.push_back(made);
    return made->loop;
  }
  last_ = (last_ + 1) % seats_.size();
  return seats_[last_]->loop;
}

void service_threads::abandon(const std::shared_ptr<coroutine_thread>& where,
                              const service_state& service) {
  const auto found = std::find_if(seats_.begin(), seats_.end(),
                                  [&where](const auto& one) { return one->loop == where; });
  if (found == seats_.end()) {
    return;
  }
  (*found)->abandoned = true;
  if (where->runs(service)) {
    where->end();  // when the service lets go of the thread, if ever
    seats_.erase(found);
  }
}

}  // namespace troupe::detail
