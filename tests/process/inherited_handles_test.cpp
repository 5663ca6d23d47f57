// SPDX-License-Identifier: BSD-3-Clause
// Handles in variables that a worker's process has from the one it was forked from: they work there
// or do nothing, and nothing that the worker has is touched by their end.
#include "troupe/array.hpp"
#include "troupe/barrier.hpp"
#include "troupe/condition.hpp"
#include "troupe/connection.hpp"
#include "troupe/event.hpp"
#include "troupe/future.hpp"
#include "troupe/listener.hpp"
#include "troupe/mutex.hpp"
#include "troupe/process.hpp"
#include "troupe/queue.hpp"
#include "troupe/semaphore.hpp"
#include "troupe/shared_memory.hpp"
#include "troupe/thread_pool.hpp"
#include "troupe/value.hpp"
#include "troupe/wait.hpp"

#include "pool_fixture.hpp"
#include "support/program.hpp"
#include "thread_fixture.hpp"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace troupe::test {
namespace {

// Made before main, and so before there is a fork server: it has them, and what is forked from it.
// In a spawned worker they are made anew.
queue<std::string> global_queue;
lifo_queue<std::string> global_stack;
priority_queue<int> global_priorities;
queue<value<int>> queue_of_handles;
value<int> global_value{7};
raw_value<int> global_raw{7};
array<int> global_array(100);
mutex global_mutex;
recursive_mutex global_recursive;
semaphore global_permits{2};
bounded_semaphore global_bounded{2};
event global_event;
condition global_condition;
barrier global_barrier{2};
shared_memory global_memory{100};
std::optional<shared_memory_view> global_view{global_memory};
std::pair<connection, connection> global_pipe = pipe();

/// What has which number here, and which files they are.
std::map<int, std::string> open_files() {
  std::map<int, std::string> found;
  for (int number = 0; number < 1024; ++number) {
    std::error_code none;
    const auto file =
        std::filesystem::read_symlink("/proc/self/fd/" + std::to_string(number), none);
    if (!none) {
      found.emplace(number, file.string());
    }
  }
  return found;
}

struct InheritedHandles : every_start_method {
  InheritedHandles() {
    // What stays once it was used: a queue's mapped memory.
    global_queue.put(std::string(400'000, 'x'));
    static_cast<void>(global_queue.get());
    global_stack.put("s");
    static_cast<void>(global_stack.get());
    global_priorities.put(1);
    static_cast<void>(global_priorities.get());
    queue_of_handles.put(value<int>{1});
    static_cast<void>(queue_of_handles.get());
    take_baseline();
  }
  /// Handles of before main are those of the program.
  [[nodiscard]] bool are_inherited() const {
    return GetParam() == start_method::fork ||
           // With threads before main, which this sanitizer has, the fork server is executed anew.
           (GetParam() == start_method::forkserver && !thread_sanitized);
  }
};
TROUPE_FOR_EVERY_START_METHOD(InheritedHandles);

// ---- assigned -----------------------------------------------------------------------------------

void assign_queue(queue<std::string> q) {
  global_queue = std::move(q);
}
int put_into_queue(int i) {
  global_queue.put(std::to_string(i));
  return i;
}

TEST_P(InheritedHandles, AnInitializerAssignsAGlobalQueue) {
  queue<std::string> q;
  pool_options how = options();
  how.initializer = call(assign_queue, q);
  pool p{how};
  const auto results = p.map(put_into_queue, std::views::iota(0, 100));
  std::vector<int> got;
  for (int i = 0; i < 100; ++i) {
    got.push_back(std::stoi(q.get()));
  }
  std::sort(got.begin(), got.end());
  EXPECT_EQ(got, results);
  EXPECT_EQ(p.stats().deaths, 0U);
}

struct handles {
  queue<std::string> one_queue;
  lifo_queue<std::string> stack;
  priority_queue<int> priorities;
  queue<value<int>> of_handles;
  value<int> number{1};
  raw_value<int> raw{1};
  array<int> numbers = array<int>(10);
  mutex lock;
  recursive_mutex again;
  semaphore permits{1};
  bounded_semaphore bounded{1};
  event happened;
  condition changed;
  barrier all{1};
  shared_memory memory{10};
  shared_memory_view view{memory};
  connection end;
  template <class Archive>
  void serialize(Archive& ar) {
    ar(one_queue, stack, priorities, of_handles, number, raw, numbers, lock, again, permits,
       bounded, happened, changed, all, memory, view, end);
  }
};

void assign_all(handles h) {
  const auto before = open_files();
  global_queue = h.one_queue;
  global_stack = h.stack;
  global_priorities = h.priorities;
  queue_of_handles = h.of_handles;
  global_value = h.number;
  global_raw = h.raw;
  global_array = h.numbers;
  global_mutex = h.lock;
  global_recursive = h.again;
  global_permits = h.permits;
  global_bounded = h.bounded;
  global_event = h.happened;
  global_condition = h.changed;
  global_barrier = h.all;
  global_memory = h.memory;
  global_view = h.view;
  global_pipe.first = h.end;
  global_pipe.second = {};
  const auto after = open_files();
  // What belonged to the old handles is closed, and nothing else.
  for (const auto& [number, file] : before) {
    if (!after.contains(number) && file.find("troupe-") == std::string::npos &&
        file.find("socket:") == std::string::npos) {
      throw std::runtime_error{"closed " + std::to_string(number) + ", " + file};
    }
  }
}
int use_all(int i) {
  global_queue.put("q");
  global_stack.put("s");
  global_priorities.put(i);
  value<int> item{i};
  queue_of_handles.put(item);
  const std::scoped_lock both{global_mutex, global_recursive};
  global_value.fetch_add(1);
  ++*global_raw;
  global_array.lock()[0] += 1;
  global_permits.acquire();
  global_permits.release();
  global_bounded.acquire();
  global_bounded.release();
  global_event.set();
  global_condition.notify_all();
  global_barrier.arrive_and_wait();
  global_memory.bytes()[0] = std::byte{5};
  global_pipe.first.send(i);
  return static_cast<int>(global_view->bytes()[0]);
}

TEST_P(InheritedHandles, AnInitializerAssignsHandlesOfEveryKind) {
  handles h;
  auto [here, there] = pipe();
  h.end = there;
  pool_options how = options(1);
  how.initializer = call(assign_all, h);
  pool p{how};
  EXPECT_EQ(p.apply(use_all, 4), 5);
  EXPECT_EQ(h.one_queue.get(), "q");
  EXPECT_EQ(h.stack.get(), "s");
  EXPECT_EQ(h.priorities.get(), 4);
  EXPECT_EQ(h.of_handles.get().load(), 4);
  EXPECT_EQ(h.number.load(), 2);
  EXPECT_EQ(*h.raw, 2);
  EXPECT_EQ(h.numbers.lock()[0], 1);
  EXPECT_TRUE(h.happened.is_set());
  EXPECT_EQ(here.recv<int>(), 4);
  EXPECT_TRUE(global_queue.empty());
  EXPECT_EQ(global_value.load(), 7);
}

// ---- used as they are ---------------------------------------------------------------------------

int use_directly(int i) {
  global_queue.put(std::string(200'000, 'x'));  // more memory than it had when it was inherited
  global_stack.put("s");
  global_priorities.put(i);
  value<int> item{i};
  queue_of_handles.put(item);
  {
    const std::scoped_lock both{global_mutex, global_recursive};
    global_value.fetch_add(1);
  }
  global_array.lock()[0] += 1;
  global_permits.acquire();
  global_event.set();
  global_memory.bytes()[0] = std::byte{5};
  return static_cast<int>(global_view->bytes()[0]);
}

TEST_P(InheritedHandles, AGlobalUsedDirectlyIsTheProgramsObject) {
  if (!are_inherited()) {
    GTEST_SKIP() << "made anew there";
  }
  const int before = global_value.load();
  const int first = global_array.lock()[0];
  {
    pool p{options(1)};
    EXPECT_EQ(p.apply(use_directly, 4), 5);
    EXPECT_EQ(global_queue.get(), std::string(200'000, 'x'));
    EXPECT_EQ(global_stack.get(), "s");
    EXPECT_EQ(global_priorities.get(), 4);
    EXPECT_EQ(queue_of_handles.get().load(), 4);
    EXPECT_EQ(global_value.load(), before + 1);
    EXPECT_EQ(global_array.lock()[0], first + 1);
    EXPECT_TRUE(global_event.is_set());
    EXPECT_EQ(global_permits.value(), 1);
    EXPECT_EQ(p.apply([](int) { return global_value.id(); }, 0), global_value.id());
  }
  global_event.clear();
  // The worker was a holder of its own: what it had when it ended came back.
  EXPECT_TRUE(eventually([] { return global_permits.value() == 2; }));
}

TEST_P(InheritedHandles, AGlobalUsedDirectlyHurtsNothingWhereItIsMadeAnew) {
  pool p{options(1)};
  EXPECT_EQ(p.apply(
                [](int) {
                  global_pipe.first.close();
                  return static_cast<int>(global_value.load() > 0);
                },
                4),
            1);
  EXPECT_EQ(p.apply(square, 3), 9);
  EXPECT_EQ(p.stats().deaths, 0U);
}

TEST_P(InheritedHandles, AWorkerThatDiesWithAnInheritedLockLeavesItToTheProgram) {
  if (!are_inherited()) {
    GTEST_SKIP() << "made anew there";
  }
  pool p{options(1)};
  EXPECT_TRUE(fails_with(errc::worker_lost, [&] {
    p.apply(
        [](int) {
          global_mutex.lock();
          ::kill(::getpid(), SIGKILL);
          return 0;
        },
        0);
    return 0;
  }));
  global_mutex.lock();
  EXPECT_TRUE(global_mutex.inherited());
  global_mutex.recovered();
  global_mutex.unlock();
}

TEST_P(InheritedHandles, AnInheritedHandleCanBeHandedOn) {
  if (!are_inherited()) {
    GTEST_SKIP() << "made anew there";
  }
  pool p{options(1)};
  const value<int> back = p.apply([](int) { return global_value; }, 0);
  EXPECT_EQ(back, global_value);
  EXPECT_EQ(p.apply([](const value<int>& given) { return static_cast<int>(given == global_value); },
                    global_value),
            1);
  const queue<std::string> same = p.apply([](int) { return global_queue; }, 0);
  EXPECT_EQ(same.id(), global_queue.id());
}

// ---- those that belong to one process -----------------------------------------------------------

int touch_connection(int /*unused*/) {
  const bool closed = !global_pipe.first.is_open();
  const auto refuses = [](auto&& operation) {
    try {
      operation();
    } catch (const error& refused) {
      return refused.code() == errc::closed;
    }
    return false;
  };
  const bool inert = refuses([] { global_pipe.first.send(1); }) &&
                     refuses([] { static_cast<void>(global_pipe.second.recv<int>()); }) &&
                     refuses([] { static_cast<void>(global_pipe.second.poll(1h)); });
  global_pipe = {};
  return closed && inert ? 1 : 0;
}

TEST_P(InheritedHandles, AnInheritedConnectionIsClosed) {
  if (!are_inherited()) {
    GTEST_SKIP() << "made anew there";
  }
  pool p{options(1)};
  EXPECT_EQ(p.apply(touch_connection, 0), 1);
  EXPECT_EQ(p.apply(square, 3), 9);
  // The program alone has its ends.
  auto [a, b] = pipe();
  global_pipe.first.send(9);
  EXPECT_EQ(global_pipe.second.recv<int>(), 9);
}

std::optional<listener> late_listener;
std::optional<connection> late_connection;
std::optional<future<std::vector<int>>> late_future;
std::optional<pool> late_pool;
std::optional<process> late_process;
std::optional<thread_pool> late_threads;

int use_inherited_pools(int /*unused*/) {
  const auto refuses = [](auto&& operation) {
    try {
      operation();
    } catch (const error& refused) {
      return refused.code() == errc::wrong_state;
    }
    return false;
  };
  int refused = 0;
  refused += refuses([] { static_cast<void>(late_pool->apply_async(square, 1)); }) ? 1 : 0;
  refused += refuses([] { late_pool->close(); }) ? 10 : 0;
  refused += refuses([] { static_cast<void>(late_threads->apply_async(square, 1)); }) ? 100 : 0;
  refused += refuses([] { late_threads->close(); }) ? 1000 : 0;
  return refused;
}

/// How many of these do not refuse.
int map_over_inherited_pools(int /*unused*/) {
  int accepted = 0;
  const auto must_refuse = [&](auto&& operation) {
    try {
      operation();
      ++accepted;
    } catch (const error& refused) {
      accepted += refused.code() == errc::wrong_state ? 0 : 1;
    }
  };
  const std::vector<int> items{1, 2, 3};
  const auto map_all = [&](auto& workers) {
    must_refuse([&] { static_cast<void>(workers.map(square, items)); });
    must_refuse([&] { static_cast<void>(workers.map_async(square, items).get()); });
    must_refuse([&] {
      for (const int each : workers.imap(square, items)) {
        static_cast<void>(each);
      }
    });
    must_refuse([&] {
      for (const int each : workers.imap_unordered(square, items)) {
        static_cast<void>(each);
      }
    });
    must_refuse([&] { static_cast<void>(workers.stats()); });
    must_refuse([&] { static_cast<void>(workers.workers()); });
  };
  map_all(*late_pool);
  map_all(*late_threads);
  return accepted;
}

TEST_P(InheritedHandles, AMapOverAPoolOfAnotherProcessIsRefused) {
  if (GetParam() != start_method::fork) {
    GTEST_SKIP() << "it is not there";
  }
  late_pool.emplace(options(1));
  late_threads.emplace(thread_pool_options{.workers = 1});
  {
    pool p{options(1)};
    EXPECT_EQ(p.apply(map_over_inherited_pools, 0), 0);
  }
  EXPECT_EQ(late_pool->map(square, std::vector<int>{2, 3}), (std::vector<int>{4, 9}));
  EXPECT_EQ(late_threads->map(square, std::vector<int>{2, 3}), (std::vector<int>{4, 9}));
  late_threads.reset();
  late_pool.reset();
}

TEST_P(InheritedHandles, APoolOfAnotherProcessRefusesWork) {
  if (GetParam() != start_method::fork) {
    GTEST_SKIP() << "it is not there";
  }
  late_pool.emplace(options(1));
  late_threads.emplace(thread_pool_options{.workers = 1});
  {
    pool p{options(1)};
    EXPECT_EQ(p.apply(use_inherited_pools, 0), 1111);
  }
  late_threads.reset();
  late_pool.reset();
}

std::optional<future<int>> unfinished;
std::optional<future<int>> finished;

/// How many waits for it do not refuse.
int wait_for_inherited_future(int /*unused*/) {
  int accepted = finished->get() == 25 ? 0 : 100;
  const auto must_refuse = [&](auto&& operation) {
    try {
      operation();
      ++accepted;
    } catch (const error& refused) {
      accepted += refused.code() == errc::wrong_state ? 0 : 1;
    }
  };
  must_refuse([] { unfinished->get(); });
  must_refuse([] { unfinished->wait(); });
  must_refuse([] { static_cast<void>(unfinished->get_for(1h)); });
  must_refuse([] { static_cast<void>(unfinished->exception()); });
  must_refuse([] { static_cast<void>(wait(std::vector{*finished, *unfinished})); });
  must_refuse([] { static_cast<void>(unfinished->then([](int x) { return x; }).get()); });
  must_refuse([] { unfinished->on_result([](int) {}); });
  must_refuse([] { unfinished->cancel(); });
  must_refuse([] { static_cast<void>(unfinished->counts()); });
  accepted += unfinished->ready() ? 1000 : 0;
  return accepted;
}

TEST_P(InheritedHandles, AFutureWhoseOutcomeComesToAnotherProcessRefusesToBeWaitedFor) {
  if (GetParam() != start_method::fork) {
    GTEST_SKIP() << "it is not there";
  }
  event go_on;
  late_pool.emplace(options(1));
  late_threads.emplace(thread_pool_options{.workers = 1});
  const auto square_when_set = [go_on](int x) {
    go_on.wait();
    return square(x);
  };
  finished = late_pool->apply_async(square, 5);
  finished->wait();
  const future<int> of_processes = late_pool->apply_async(
      [](event e, int x) {
        e.wait();
        return square(x);
      },
      go_on, 3);
  const future<int> of_threads = late_threads->apply_async(square_when_set, 4);
  for (const auto& each : {of_processes, of_threads}) {
    unfinished = each;
    process_options how;
    how.start = GetParam();
    value<int> found{-1};
    process child{how, [](value<int> to) { to.store(wait_for_inherited_future(0)); }, found};
    child.start();
    child.join();
    EXPECT_EQ(found.load(), 0);
  }
  go_on.set();
  EXPECT_EQ(of_processes.get(), 9);
  EXPECT_EQ(of_threads.get(), 16);
  unfinished.reset();
  finished.reset();
  late_threads.reset();
  late_pool.reset();
}

std::optional<decltype(std::declval<pool&>().imap(square, std::vector<int>{}))> late_map;
std::optional<decltype(std::declval<thread_pool&>().imap(square, std::vector<int>{}))> late_local;

int drop_inherited_maps(int /*unused*/) {
  late_map.reset();
  late_local.reset();
  return 1;
}

TEST_P(InheritedHandles, AnUnreadMapOfAnotherProcessCanBeDropped) {
  if (GetParam() != start_method::fork) {
    GTEST_SKIP() << "it is not there";
  }
  late_pool.emplace(options(1));
  late_threads.emplace(thread_pool_options{.workers = 1});
  late_map.emplace(late_pool->imap(square, std::vector<int>{1, 2, 3}));
  late_local.emplace(late_threads->imap(square, std::vector<int>{1, 2, 3}));
  {
    pool p{options(1)};
    EXPECT_EQ(p.apply(drop_inherited_maps, 0), 1);
  }
  int sum = 0;
  for (const int each : *late_map) {
    sum += each;
  }
  for (const int each : *late_local) {
    sum += each;
  }
  EXPECT_EQ(sum, 28);
  late_map.reset();
  late_local.reset();
  late_threads.reset();
  late_pool.reset();
}

std::vector<int> many(int count) {
  return std::vector<int>(static_cast<std::size_t>(count), 3);
}

int drop_what_is_late(int which) {
  const auto before = open_files();
  switch (which) {
    case 0:
      late_listener.reset();
      break;
    case 1:
      late_connection.reset();
      break;
    case 2:
      late_future.reset();
      break;
    case 3:
      late_process.reset();
      break;
    case 4:
      late_pool.reset();
      break;
    default:
      late_threads.reset();
  }
  return open_files() == before ? 1 : 0;
}

TEST_P(InheritedHandles, WhatIsDroppedInAWorkerTouchesNothing) {
  // Only a worker forked from the running program has these.
  pool source{options(1)};
  late_listener.emplace(file("door"));
  late_connection.emplace(pipe().first);
  late_future.emplace(source.apply_async(many, 100'000));
  late_future->wait();
  process_options how;
  how.start = GetParam();
  event go_on;
  late_process.emplace(how, [](event e) { e.wait(); }, go_on);
  late_process->start();
  late_pool.emplace(options(1));
  late_threads.emplace(thread_pool_options{.workers = 1});
  {
    pool p{options(1)};
    for (int which = 0; which < 6; ++which) {
      SCOPED_TRACE(which);
      EXPECT_EQ(p.apply(drop_what_is_late, which), 1);
      EXPECT_EQ(p.apply(square, which), which * which);
    }
    EXPECT_EQ(p.stats().deaths, 0U);
  }
  EXPECT_EQ(late_pool->apply(square, 5), 25);
  EXPECT_EQ(late_threads->apply(square, 5), 25);
  late_threads.reset();
  late_pool.reset();
  EXPECT_TRUE(late_process->is_alive());
  EXPECT_EQ(late_future->get(), many(100'000));
  EXPECT_TRUE(std::filesystem::exists(file("door")));
  std::thread client{[this] { static_cast<void>(connect(file("door"))); }};
  EXPECT_TRUE(late_listener->accept_for(30s).has_value());
  client.join();
  go_on.set();
  late_process->join();
  late_process.reset();
  late_future.reset();
  late_connection.reset();
  late_listener.reset();
}

}  // namespace
}  // namespace troupe::test
