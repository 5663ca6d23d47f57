// SPDX-License-Identifier: BSD-3-Clause
#include "troupe/detail/future_state.hpp"

#include "troupe/log.hpp"

#include "futures/callback_runner.hpp"
#include "futures/waiting.hpp"
#include "os/library_thread.hpp"
#include "os/process_identity.hpp"

#include <string>
#include <utility>

namespace troupe::detail {

using namespace std::string_literals;

namespace {
/// The calling thread runs a callback of a future, perhaps one that is not the library's: that of
/// `when_all` of nothing runs where it is added.
constinit thread_local bool in_callback = false;
}  // namespace

completion_listener::~completion_listener() = default;

namespace {
std::atomic<std::uint64_t> helpers_made{0};
}  // namespace

wait_helper::wait_helper() noexcept : number_{helpers_made.fetch_add(1) + 1} {}

wait_helper*& wait_helper::of_this_thread() noexcept {
  constinit thread_local wait_helper* here = nullptr;
  return here;
}

future_state::future_state() : process_{fork_generation()} {}
future_state::~future_state() = default;

bool future_state::is_inherited() const noexcept {
  return process_ != fork_generation() && process_ != 0;  // 0: made before forks were watched
}

void future_state::check_comes_here() const {
  if (is_inherited() && !done()) {
    throw error{errc::wrong_state, task_ran::maybe,
                "troupe: this future has no outcome, and gets none here: its task is one of the "
                "process that this one was forked from"};
  }
}

bool future_state::wait(const deadline& until) const {
  if (done()) {
    return true;
  }
  check_comes_here();
  if ((!until || *until > std::chrono::steady_clock::now()) && spin_for_outcome()) {
    return true;
  }
  if (wait_helper* const helper = wait_helper::of_this_thread()) {
    return helper->wait_for(*this, until);
  }
  if (callback_runner::is_here()) {
    need_all_of(*this);  // the callbacks behind this one wait, too, and tasks may wait for those
  }
  if (!until && wait_for_handover()) {
    return true;
  }
  for (;;) {
    std::uint32_t now = word_.load(std::memory_order_acquire);
    if (now >= fulfilled) {
      return true;
    }
    if (now == pending && !word_.compare_exchange_weak(now, awaited)) {
      continue;
    }
    if (!futex_wait(word_, awaited, until)) {
      return done();
    }
  }
}

void future_state::wait_with_callbacks() const {
  wait(std::nullopt);
  std::uint32_t left = callbacks_left_.load(std::memory_order_acquire);
  if (left == 0 || in_callback || is_library_thread() || is_inherited()) {
    return;
  }
  for (; left != 0; left = callbacks_left_.load(std::memory_order_acquire)) {
    if ((left & some_wait) == 0 && !callbacks_left_.compare_exchange_weak(left, left | some_wait)) {
      continue;
    }
    futex_wait(callbacks_left_, left | some_wait, std::nullopt);
  }
}

void future_state::callback_returned() const noexcept {
  // Partner: wait_with_callbacks, which sees what the callback wrote.
  if (callbacks_left_.fetch_sub(1, std::memory_order_acq_rel) - 1 == some_wait) {
    callbacks_left_.store(0, std::memory_order_release);
    futex_wake_all(callbacks_left_);
  }
}

bool future_state::wait_for_handover() const {
  handover* const own = handover::of_this_thread();
  if (own == nullptr) {
    return false;
  }
  const int address = own->address();
  int expected = no_waiter;
  if (!waiter_.compare_exchange_strong(expected, address)) {
    return false;  // another thread is first
  }
  // Registered before `fulfil` looked, so it will signal exactly once, and this thread does nothing
  // else until then. A byte that came before the outcome is not that signal.
  while (own->wait()) {
    if (done()) {
      return true;
    }
  }
  // If `fulfil` was faster, there is an outcome, and what it writes to is closed.
  expected = address;
  waiter_.compare_exchange_strong(expected, no_waiter);
  return done();
}

void future_state::rethrow_failure() const {
  if (const auto& failure = failed()) {
    if (const std::exception_ptr thrown = original()) {
      std::rethrow_exception(thrown);
    }
    rethrow(*failure);
  }
}

std::exception_ptr future_state::exception() const {
  const auto& failure = failed();
  if (!failure) {
    return nullptr;
  }
  std::exception_ptr thrown = original();
  return thrown ? thrown : to_exception(*failure);
}

void future_state::finish(std::shared_ptr<const failure> failed) noexcept {
  failure_ = std::move(failed);
  fulfil(fulfilled);
}

void future_state::finish_undescribed() noexcept {
  fulfil(undescribed);
}

std::shared_ptr<const failure> future_state::describe() const {
  return nullptr;
}

void future_state::describe_once() const {
  const mutex_guard lock{mutex_};
  if (!failure_) {
    failure_ = describe();
  }
}

void future_state::fulfil(std::uint32_t how) noexcept {
  followers todo;
  std::uint32_t before = 0;
  {
    // Under the lock, so that a callback is either taken here or finds the state fulfilled.
    const mutex_guard lock{mutex_};
    if (followers_) {
      std::swap(todo, *followers_);
      if (todo.callbacks.empty()) {
        followers_.reset();
      }
    }
    before = word_.exchange(how);
  }
  if (before == awaited) {
    futex_wake_all(word_);
  }
  if (const int waiter = waiter_.exchange(too_late); waiter >= 0) {
    handover::signal(waiter);
  }
  for (const auto& listener : todo.listeners) {
    listener->completed(*this);
  }
  if (!todo.progress_callbacks.empty()) {
    // Behind the calls for its reports. It may own what waits for this thread at its end, a pool.
    hand_over({[gone = std::move(todo.progress_callbacks)](future_state&) {}, false});
  }
  while (!todo.callbacks.empty()) {
    for (follower& one : todo.callbacks) {
      hand_over(std::move(one));
    }
    todo.callbacks.clear();
    const mutex_guard lock{mutex_};
    todo.callbacks.swap(followers_->callbacks);
    if (todo.callbacks.empty()) {
      followers_.reset();
    }
  }
}

void future_state::prepare_callbacks() const {
  if (const executor run = callbacks()) {
    run(nullptr);
  }
}

void future_state::follow(callback function, bool is_awaited) {
  if (!done()) {
    check_comes_here();
    prepare_callbacks();
  }
  bool is_late = false;
  {
    const mutex_guard lock{mutex_};
    if (!done()) {
      list_of_followers().callbacks.push_back({std::move(function), is_awaited});
    } else if (followers_) {  // `fulfil` hands over those that came before
      followers_->callbacks.push_back({std::move(function), is_awaited});
    } else {
      is_late = true;
    }
    if (is_awaited) {
      callbacks_left_.fetch_add(1);
    }
  }
  if (is_late) {
    run({std::move(function), is_awaited});
  }
}

bool future_state::listen(std::shared_ptr<completion_listener> listener) {
  if (done()) {
    return false;
  }
  check_comes_here();
  const mutex_guard lock{mutex_};
  if (done()) {
    return false;
  }
  list_of_followers().listeners.push_back(std::move(listener));
  return true;
}

void future_state::unlisten(const completion_listener* listener) noexcept {
  if (is_inherited()) {
    return;  // the lock may be held for ever
  }
  const mutex_guard lock{mutex_};
  if (followers_) {
    std::erase_if(followers_->listeners,
                  [listener](const auto& one) { return one.get() == listener; });
  }
}

void future_state::tell_sources() noexcept {
  std::vector<std::shared_ptr<completion_listener>> told;
  {
    const mutex_guard lock{mutex_};
    if (followers_) {
      told = followers_->listeners;
    }
  }
  for (const auto& listener : told) {
    listener->got_sources(*this);
  }
}

task_counts future_state::counts() const {
  task_counts found{.total = 1};
  if (!done()) {
    ++(running() ? found.running : found.queued);
  } else if (!failed()) {
    ++found.succeeded;
  } else {
    ++(failed()->code == errc::cancelled ? found.cancelled : found.failed);
  }
  return found;
}

std::optional<task_progress> future_state::progress() const {
  const mutex_guard lock{mutex_};
  return progress_ ? std::optional{*progress_} : std::nullopt;
}

void future_state::on_progress(progress_callback function) {
  if (!done()) {
    prepare_callbacks();
  }
  const mutex_guard lock{mutex_};
  if (!done()) {
    list_of_followers().progress_callbacks.push_back(
        std::make_shared<progress_callback>(std::move(function)));
  }
}

void future_state::report(task_progress now) {
  std::vector<std::shared_ptr<progress_callback>> todo;
  {
    const mutex_guard lock{mutex_};
    if (done()) {
      return;
    }
    if (followers_) {
      todo = followers_->progress_callbacks;
    }
    progress_ = std::make_unique<task_progress>(now);
  }
  for (auto& function : todo) {
    try {
      callbacks()([function = std::move(function), now] {
        try {
          (*function)(now);
        } catch (...) {
          report_callback(std::current_exception());
        }
      });
    } catch (const pool_closed&) {  // NOLINT(bugprone-empty-catch): no thread is left for it, and
      // the task's end comes next
    }
  }
}

void future_state::observe(callback function) const {
  struct observer final : completion_listener {
    explicit observer(callback f) : function{std::move(f)} {}
    void completed(future_state& state) noexcept override { function(state); }
    callback function;
  };
  // Observers get the state as others hold it; only the list of them is changed here.
  auto& self = const_cast<future_state&>(*this);  // NOLINT(cppcoreguidelines-pro-type-const-cast)
  if (const auto one = std::make_shared<observer>(std::move(function)); !self.listen(one)) {
    one->completed(self);
  }
}

/// A callback on its way to where it runs. It has returned when this is gone, also if it was dropped
/// because the program ends.
class future_state::ended_call {
 public:
  ended_call(std::shared_ptr<future_state> of, follower what)
      : of_{std::move(of)}, what_{std::move(what)} {}
  ended_call(const ended_call&) = delete;
  ended_call& operator=(const ended_call&) = delete;
  ~ended_call() {
    what_.function = nullptr;
    if (what_.is_awaited) {
      of_->callback_returned();
    }
  }
  void run() const {
    const bool before = std::exchange(in_callback, true);
    try {
      what_.function(*of_);
    } catch (...) {
      report_callback(std::current_exception());
    }
    in_callback = before;
  }

 private:
  std::shared_ptr<future_state> of_;
  follower what_;
};

void future_state::run(follower what) {
  // Made first: whatever is thrown here, it counts as returned.
  auto call = std::make_shared<const ended_call>(shared_from_this(), std::move(what));
  callbacks()([call = std::move(call)] { call->run(); });
}

void future_state::hand_over(follower what) noexcept {
  try {
    run(std::move(what));
  } catch (const error& refused) {
    log(log_level::error, "a callback of a future was not called: "s + refused.what());
  }
}

void throw_no_state() {
  throw error{errc::no_state, task_ran::no,
              "troupe: this future belongs to no task: it was default-constructed or moved from"};
}

void report_callback(const std::exception_ptr& thrown) noexcept {
  try {
    const failure what = capture_failure(thrown);
    log(log_level::error, "a callback of a future threw " + what.type_name + ": " + what.text);
  } catch (const std::bad_alloc&) {
    log(log_level::error, "a callback of a future threw");
  }
}

void throw_result_decode(const std::exception_ptr& thrown) {
  failure why = capture_failure(thrown);
  if (why.code == errc::resource_exhausted) {
    why.text.insert(0, "the result cannot be decoded: ");
    why.ran = task_ran::yes;
    rethrow(why);
  }
  rethrow(capture_failure(errc::result_decode_failed, thrown));
}

}  // namespace troupe::detail
