// SPDX-License-Identifier: BSD-3-Clause
#include "pools/worker/coroutine_loop.hpp"

#include "troupe/detail/coroutine_run.hpp"

#include "pools/coroutine/task_executor.hpp"

#include <asio/any_io_executor.hpp>
#include <asio/cancellation_signal.hpp>
#include <asio/io_context.hpp>
#include <asio/posix/stream_descriptor.hpp>
#include <asio/steady_timer.hpp>
#include <chrono>
#include <system_error>
#include <type_traits>
#include <unordered_map>
#include <utility>
#include <vector>

namespace troupe::detail {

coroutine_run::~coroutine_run() = default;

asio::io_context& with_own_numbers(asio::io_context& loop) noexcept {
  try {
    const low_numbers_taken meanwhile;
    static_cast<void>(asio::steady_timer{loop});
  } catch (const std::exception&) {  // NOLINT(bugprone-empty-catch): Asio tries again
  }
  return loop;
}

namespace {

/// Handlers run in one go, before frames are looked at again: coroutines that never wait must not
/// keep a stop request out.
constexpr int handlers_per_turn = 64;

std::uint64_t now_ns() {
  return static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::nanoseconds>(
                                        std::chrono::steady_clock::now().time_since_epoch())
                                        .count());
}

}  // namespace

struct coroutine_loop::state {
  class run;

  state(descriptor wake, std::function<byte_sink&()> r, std::function<void(const coroutine_end&)> e)
      : io{1},
        bell{with_own_numbers(io), wake.release()},
        result{std::move(r)},
        ended{std::move(e)} {}

  asio::io_context io;
  asio::posix::stream_descriptor bell;
  std::function<byte_sink&()> result;
  std::function<void(const coroutine_end&)> ended;
  std::unordered_map<std::uint64_t, std::shared_ptr<run>> active;
  bool watching = false;
  bool rang = false;
};

/// One coroutine task, kept by the loop and by its own coroutine.
class coroutine_loop::state::run final : public coroutine_run,
                                         public std::enable_shared_from_this<run> {
 public:
  run(state& host, const current_task& as, std::shared_ptr<erased_task> callable,
      std::span<const std::byte> arguments, std::shared_ptr<const mapping> view)
      : host_{host}, as_{as}, callable_{std::move(callable)}, view_{std::move(view)} {
    as_.stop = &stop_;
    if (view_) {
      arguments_ = arguments;
    } else {
      copy_.assign(arguments.begin(), arguments.end());
      arguments_ = copy_;
    }
  }

  void begin(task_stage& stage) { callable_->begin(arguments_, shared_from_this(), stage); }

  void stop() {
    stopped_ = true;
    const as_task scope{as_};
    stop_.request_stop();
    signal_.emit(asio::cancellation_type::all);
  }

  [[nodiscard]] asio::any_io_executor executor() override {
    // An executor refers to this task: each copy of it keeps the task alive.
    return task_executor<as_task, current_task, asio::io_context::executor_type>{
        std::shared_ptr<const current_task>{shared_from_this(), &as_}, host_.io.get_executor()};
  }
  [[nodiscard]] asio::cancellation_slot stop_slot() override { return signal_.slot(); }
  byte_sink& result() override { return host_.result(); }
  void ended(task_stage stage, std::exception_ptr thrown) override {
    const as_task scope{as_};
    const auto self = shared_from_this();
    host_.active.erase(as_.number);
    const bool cancelled = stopped_ && thrown && says_stopped(thrown);
    host_.ended({as_.number, stage, std::move(thrown), cancelled, now_ns() - begun_});
  }

 private:
  state& host_;
  current_task as_;
  std::shared_ptr<erased_task> callable_;
  std::shared_ptr<const mapping> view_;
  std::vector<std::byte> copy_;
  std::span<const std::byte> arguments_;
  std::stop_source stop_;
  asio::cancellation_signal signal_;
  bool stopped_ = false;
  std::uint64_t begun_ = now_ns();
};

coroutine_loop::coroutine_loop(descriptor wake, std::function<byte_sink&()> result,
                               std::function<void(const coroutine_end&)> ended)
    : state_{std::make_unique<state>(std::move(wake), std::move(result), std::move(ended))} {}

coroutine_loop::~coroutine_loop() = default;

void coroutine_loop::begin(const current_task& as, std::shared_ptr<erased_task> callable,
                           std::span<const std::byte> arguments,
                           std::shared_ptr<const mapping> view, task_stage& stage) {
  const auto made =
      std::make_shared<state::run>(*state_, as, std::move(callable), arguments, std::move(view));
  state_->active.emplace(as.number, made);
  try {
    made->begin(stage);
  } catch (...) {
    state_->active.erase(as.number);
    throw;
  }
}

void coroutine_loop::stop(std::uint64_t number) {
  const auto found = state_->active.find(number);
  if (found != state_->active.end()) {
    const auto kept = found->second;
    kept->stop();
  }
}

std::size_t coroutine_loop::active() const noexcept {
  return state_->active.size();
}

bool coroutine_loop::has_work() {
  if (!state_->active.empty()) {
    return true;
  }
  if (state_->watching) {
    state_->bell.cancel();  // its handler runs below: then what is left is work of others
  }
  run_ready();
  return !state_->io.stopped();
}

void coroutine_loop::run_ready() {
  state_->io.restart();
  for (int i = 0; i < handlers_per_turn && state_->io.poll_one() > 0; ++i) {
  }
}

bool coroutine_loop::wait() {
  if (!state_->watching) {
    state_->watching = true;
    state_->bell.async_wait(asio::posix::stream_descriptor::wait_read,
                            [s = state_.get()](const std::error_code& problem) {
                              s->watching = false;
                              s->rang = !problem;
                            });
  }
  state_->rang = false;
  state_->io.restart();
  state_->io.run_one();
  run_ready();
  return state_->rang;
}

}  // namespace troupe::detail
