// SPDX-License-Identifier: BSD-3-Clause
#include "engine.hpp"

#include "troupe/detail/byte_sink.hpp"
#include "troupe/detail/code_address.hpp"
#include "troupe/detail/futex.hpp"
#include "troupe/detail/memory.hpp"
#include "troupe/system.hpp"

#include "pool_core_impl.hpp"
#include "worker_actor.hpp"

#include <pthread.h>
#include <signal.h>

#include <atomic>
#include <utility>

namespace troupe::detail {
namespace {

constexpr std::size_t max_idle_segment_bytes = std::size_t{512} << 20;

/// What the process knows about itself: the one mutable global of the library.
struct process_place {
  std::mutex mutex;
  std::shared_ptr<engine> current;  // guarded by mutex
  bool was_shut_down = false;       // guarded by mutex
  program self;                     // in a worker
  caf::actor_system* worker_actors = nullptr;
};

process_place*& place_pointer() {
  static process_place* pointer = new process_place;
  return pointer;
}

process_place& place() {
  return *place_pointer();
}

std::atomic<std::uint64_t> next_worker{1};

}  // namespace

compat::run_loop& thread_loop(caf::actor_system& system) {
  thread_local std::unique_ptr<compat::run_loop> loop;
  thread_local const caf::actor_system* loop_of = nullptr;
  if (loop_of != &system) {
    loop = std::make_unique<compat::run_loop>(system);
    loop_of = &system;
  }
  return *loop;
}

engine::engine(program self, caf::actor_system* existing)
    : launcher_{std::make_unique<launcher>(std::move(self))},
      segments_{std::make_shared<segment_pool>(max_idle_segment_bytes)},
      actors_{existing} {
  large_fill_hook = &prepare_pages;
  if (actors_ == nullptr) {
    // CAF's threads inherit the mask: the host program's handlers must not run there.
    sigset_t all;
    sigset_t old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    compat::init_types();
    config_ = std::make_unique<caf::actor_system_config>();
    compat::configure(*config_);
    own_actors_ = std::make_unique<caf::actor_system>(*config_);
    actors_ = own_actors_.get();
    pthread_sigmask(SIG_SETMASK, &old, nullptr);
  }
  reactor_ = std::make_unique<reactor>();
  launcher_->attach(
      *reactor_, {[this](std::uint64_t worker, std::int64_t pid) {
                    if (const auto owner = owner_of(worker)) {
                      owner->tell(supervisor_message::worker_started, worker, to_bytes(pid));
                    }
                  },
                  [this](std::uint64_t worker, int code) {
                    if (const auto owner = owner_of(worker)) {
                      owner->tell(supervisor_message::start_failed, worker, to_bytes(code));
                    }
                  },
                  [this](const exit_report& report) {
                    const auto owner = owner_of(report.worker);
                    if (!owner) {
                      return;
                    }
                    exit_notice notice{report.pid, 0, 0, report.max_rss_kib};
                    if (report.status) {
                      if (const auto* normal = std::get_if<exited>(&*report.status)) {
                        notice.kind = 1;
                        notice.value = normal->code;
                      } else {
                        notice.kind = 2;
                        notice.value = std::get<killed_by>(*report.status).signal;
                      }
                    }
                    owner->tell(supervisor_message::worker_exited, report.worker, to_bytes(notice));
                  }});
}

// The handles of pools may keep an engine beyond shut_down; by then it is an empty shell.
engine::~engine() {
  shut_down();
}

std::shared_ptr<engine> engine::start(program self) {
  process_place& here = place();
  const std::lock_guard lock{here.mutex};
  if (here.current) {
    throw error{
        errc::already_bootstrapped, task_ran::no,
        "troupe: there is a troupe::system already: construct one only, as the first line of "
        "main, and let everything else use it"};
  }
  here.current = std::make_shared<engine>(std::move(self), nullptr);
  here.was_shut_down = false;
  return here.current;
}

std::shared_ptr<engine> engine::current() {
  process_place& here = place();
  const std::lock_guard lock{here.mutex};
  if (!here.current && here.worker_actors != nullptr) {
    here.current = std::make_shared<engine>(here.self, here.worker_actors);
  }
  if (!here.current) {
    throw not_bootstrapped{
        here.was_shut_down ? "troupe: the troupe::system of this program has ended: keep it until "
                             "the last pool is gone"
                           : "troupe: no troupe::system in main. Make it the first line there:\n"
                             "  int main(int argc, char** argv) {\n"
                             "    troupe::system system{argc, argv};"};
  }
  return here.current;
}

void engine::enter_worker(const program& self, caf::actor_system& actors) {
  // Never destroyed and never locked: in a worker forked from a running program the old one belongs
  // to threads that do not exist here.
  auto* const fresh = new process_place;
  fresh->self = self;
  fresh->worker_actors = &actors;
  place_pointer() = fresh;
}

void engine::shut_down() noexcept {
  std::vector<std::weak_ptr<pool_core>> pools;
  {
    const std::lock_guard lock{mutex_};
    if (std::exchange(down_, true)) {
      return;
    }
    pools.swap(pools_);
  }
  for (const auto& weak : pools) {
    if (const auto pool = weak.lock()) {
      pool->end();
      pool->retire();
    }
  }
  launcher_->detach();
  reactor_.reset();
  launcher_.reset();
  own_actors_.reset();
  process_place& here = place();
  const std::lock_guard lock{here.mutex};
  if (here.current.get() == this) {
    here.current.reset();
    here.was_shut_down = true;
  }
}

std::uint64_t engine::enroll(const std::shared_ptr<pool_core>& link) {
  const std::uint64_t id = next_worker.fetch_add(1);
  const std::lock_guard lock{mutex_};
  workers_.emplace(id, link);
  return id;
}

void engine::dismiss(std::uint64_t worker) {
  const std::lock_guard lock{mutex_};
  workers_.erase(worker);
}

void engine::add(const std::shared_ptr<pool_core>& link) {
  const std::lock_guard lock{mutex_};
  if (down_) {
    throw pool_closed{
        "troupe: the troupe::system of this program is ending: it starts no more pools"};
  }
  std::erase_if(pools_, [](const auto& weak) { return weak.expired(); });
  pools_.push_back(link);
  ++live_pools_;
  segments_->keep_idle(true);
}

void engine::pool_ended() {
  const std::lock_guard lock{mutex_};
  if (--live_pools_ == 0) {
    segments_->keep_idle(false);
  }
}

std::shared_ptr<pool_core> engine::owner_of(std::uint64_t worker) {
  const std::lock_guard lock{mutex_};
  const auto found = workers_.find(worker);
  return found == workers_.end() ? nullptr : found->second.lock();
}

}  // namespace troupe::detail

namespace troupe {

system::system(int argc, char** argv) {
  detail::program self;
  self.arguments.assign(argv, argv + argc);
  self.entry = &detail::run_worker;
  detail::take_role(self);
  // First used here, before there are threads: a process forked during the first use would wait for its
  // guard for ever.
  static_cast<void>(detail::program_build_id());
  detail::handover::of_this_thread();  // so that main's first wait changes nothing about the
                                       // program
  engine_ = detail::engine::start(std::move(self));
}

system::~system() {
  const auto engine = std::static_pointer_cast<detail::engine>(engine_);
  if (engine) {
    engine->shut_down();
  }
}

}  // namespace troupe
