// SPDX-License-Identifier: BSD-3-Clause
#include "troupe/queue.hpp"

#include "troupe/connection.hpp"

#include "shared/core/crash_step.hpp"
#include "support/eventually.hpp"
#include "support/fails_with.hpp"
#include "support/forked.hpp"
#include "support/no_descriptors.hpp"
#include "support/no_leaks.hpp"

#include <gtest/gtest.h>

#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <deque>
#include <exception>
#include <filesystem>
#include <fstream>
#include <initializer_list>
#include <map>
#include <numeric>
#include <optional>
#include <random>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace troupe {
namespace {

using namespace std::chrono_literals;
using clock = std::chrono::steady_clock;
using test::eventually;
using test::fails_with;
using test::forked;

class Queue : public test::no_leaks {
 protected:
  Queue() : no_leaks{120s} {
    // The first shared object of a process sets up what all use.
    static_cast<void>(queue<int>{}.size());
    take_baseline();
  }
};

/// Whether so many threads, of any processes, came to wait in operations on the queue.
template <class Handle>
bool come_to_wait(const Handle& one, std::uint32_t threads) {
  return eventually([&] {
    const auto all = detail::live_objects();
    return std::any_of(all.begin(), all.end(), [&](const object_info& each) {
      return each.id == one.id() && each.waiters == threads;
    });
  });
}

std::string text_of(int i) {
  return std::to_string(i) + std::string(static_cast<std::size_t>(i * 37 % 500), 'x');
}

// ---- order and waiting -------------------------------------------------------------------------

TEST_F(Queue, GivesItemsInTheOrderTheyWerePut) {
  queue<std::string> q;
  EXPECT_TRUE(q.empty());
  EXPECT_FALSE(q.full());
  EXPECT_EQ(q.capacity(), 0U);
  int out = 0;
  int in = 0;
  // The ring wraps and grows on the way.
  for (int round = 0; round < 300; ++round) {
    for (int i = 0; i < round % 7; ++i) {
      q.put(text_of(in++));
    }
    for (int i = 0; i < round % 6 && out < in; ++i) {
      ASSERT_EQ(q.get(), text_of(out++));
    }
    ASSERT_EQ(q.size(), static_cast<std::size_t>(in - out));
  }
  while (out < in) {
    ASSERT_EQ(q.get(), text_of(out++));
  }
  EXPECT_TRUE(q.empty());
}

TEST_F(Queue, ALifoQueueGivesTheLastItemFirst) {
  lifo_queue<std::string> q;
  std::vector<std::string> model;
  std::minstd_rand random{7};
  for (int i = 0; i < 3000; ++i) {
    if (random() % 5 < 3) {
      q.put(text_of(i));
      model.push_back(text_of(i));
    } else if (!model.empty()) {
      ASSERT_EQ(q.get(), model.back());
      model.pop_back();
    }
  }
  while (!model.empty()) {
    ASSERT_EQ(q.get(), model.back());
    model.pop_back();
  }
}

TEST_F(Queue, APriorityQueueGivesTheLeastItemFirst) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::minstd_rand random{seed};
  priority_queue<std::pair<int, std::string>> q;
  std::multiset<std::pair<int, std::string>> model;
  for (int i = 0; i < 4000; ++i) {
    if (random() % 5 < 3) {
      const std::pair<int, std::string> item{static_cast<int>(random() % 1000), text_of(i)};
      q.put(item);
      model.insert(item);
    } else if (!model.empty()) {
      ASSERT_EQ(q.get(), *model.begin());
      model.erase(model.begin());
    }
  }
  while (!model.empty()) {
    ASSERT_EQ(q.get(), *model.begin());
    model.erase(model.begin());
  }
}

struct by_first {
  bool operator()(const std::pair<int, int>& a, const std::pair<int, int>& b) const {
    return a.first < b.first;
  }
};

TEST_F(Queue, OfEqualItemsTheFirstComesFirst) {
  priority_queue<std::pair<int, int>, by_first> q;
  for (int i = 0; i < 200; ++i) {
    q.put({i % 3, i});
  }
  std::pair<int, int> last{-1, -1};
  for (int i = 0; i < 200; ++i) {
    const auto item = q.get();
    EXPECT_LT(last, item);
    last = item;
  }
  priority_queue<int, std::greater<>> down;
  down.put_range(std::vector{1, 3, 2});
  EXPECT_EQ(down.get_some(5), (std::vector{3, 2, 1}));
}

TEST_F(Queue, ABoundedOneIsFullAtItsCapacity) {
  queue<int> q{2, {.name = "small"}};
  EXPECT_EQ(q.name(), "small");
  EXPECT_EQ(q.capacity(), 2U);
  EXPECT_TRUE(q.try_put(1));
  EXPECT_TRUE(q.put_for(2, 1h));
  EXPECT_TRUE(q.full());
  EXPECT_FALSE(q.try_put(3));
  EXPECT_FALSE(q.put_for(3, -1s));
  const auto before = clock::now();
  EXPECT_FALSE(q.put_for(3, 20ms));
  EXPECT_GE(clock::now() - before, 20ms);
  EXPECT_EQ(q.get(), 1);
  EXPECT_TRUE(q.try_put(3));
  EXPECT_EQ(q.get_some(10), (std::vector{2, 3}));
}

TEST_F(Queue, AnEmptyOneGivesNothingInTime) {
  queue<int> q;
  EXPECT_EQ(q.try_get(), std::nullopt);
  EXPECT_EQ(q.get_for(-1h), std::nullopt);
  EXPECT_EQ(q.get_for(0s), std::nullopt);
  const auto before = clock::now();
  EXPECT_EQ(q.get_for(20ms), std::nullopt);
  EXPECT_GE(clock::now() - before, 20ms);
  q.put(1);
  EXPECT_EQ(q.get_for(std::chrono::hours::max()), 1);
  EXPECT_TRUE(q.get_some(0).empty());
}

TEST_F(Queue, WaitsForRoomAndForItems) {
  queue<int> q{1};
  std::jthread producer{[&] {
    for (int i = 0; i < 200; ++i) {
      q.put(i);
    }
  }};
  for (int i = 0; i < 200; ++i) {
    EXPECT_EQ(q.get(), i);
  }
}

TEST_F(Queue, ImpossibleCapacitiesAreRefused) {
  EXPECT_THROW(queue<int>{-1}, std::invalid_argument);
  EXPECT_THROW(lifo_queue<int>{-5L}, std::invalid_argument);
  queue<int> none{0};
  EXPECT_EQ(none.capacity(), 0U);
}

TEST_F(Queue, BatchesKeepTheirOrder) {
  queue<int> q{100};
  std::jthread producer{[&] {
    std::vector<int> all(1000);
    std::iota(all.begin(), all.end(), 0);
    q.put_range(all);
    q.put_range(std::vector<int>{});
    q.close();
  }};
  int expected = 0;
  for (;;) {
    try {
      for (const int i : q.get_some(7)) {
        EXPECT_EQ(i, expected++);
      }
    } catch (const queue_closed&) {
      break;
    }
  }
  EXPECT_EQ(expected, 1000);
}

// ---- close -------------------------------------------------------------------------------------

TEST_F(Queue, AClosedOneIsDrainedAndThenSaysSo) {
  queue<int> q;
  q.put_range(std::vector{1, 2, 3});
  EXPECT_FALSE(q.is_closed());
  q.close();
  q.close();
  EXPECT_TRUE(q.is_closed());
  EXPECT_THROW(q.put(4), queue_closed);
  EXPECT_THROW(static_cast<void>(q.try_put(4)), queue_closed);
  EXPECT_THROW(q.put_range(std::vector{4}), queue_closed);
  EXPECT_EQ(q.get(), 1);
  EXPECT_EQ(q.get_optional(), 2);
  int seen = 0;
  for (const int& i : q) {
    seen = seen * 10 + i;
  }
  EXPECT_EQ(seen, 3);
  EXPECT_THROW(static_cast<void>(q.get()), queue_closed);
  EXPECT_THROW(static_cast<void>(q.try_get()), queue_closed);
  EXPECT_THROW(static_cast<void>(q.get_for(1s)), queue_closed);
  EXPECT_THROW(static_cast<void>(q.get_some(2)), queue_closed);
  EXPECT_EQ(q.get_optional(), std::nullopt);
}

TEST_F(Queue, CloseEndsAllWaits) {
  queue<int> empty;
  queue<int> full{1};
  full.put(1);
  std::jthread reader{[&] { EXPECT_THROW(static_cast<void>(empty.get()), queue_closed); }};
  std::jthread optional{[&] { EXPECT_EQ(empty.get_optional(), std::nullopt); }};
  std::jthread writer{[&] { EXPECT_THROW(full.put(2), queue_closed); }};
  EXPECT_TRUE(come_to_wait(empty, 2));
  EXPECT_TRUE(come_to_wait(full, 1));
  empty.close();
  full.close();
}

TEST_F(Queue, WithoutDescriptorsForItsHandlesAnItemStays) {
  queue<connection> q;
  auto [here, there] = pipe();
  q.put(there);
  there.close();
  std::exception_ptr thrown;  // looked at later: UBSan needs descriptors to check a vptr
  {
    const test::no_descriptors while_it_reads;
    try {
      static_cast<void>(q.get());
    } catch (...) {
      thrown = std::current_exception();
    }
  }
  ASSERT_TRUE(thrown);
  EXPECT_TRUE(fails_with(errc::resource_exhausted, [&] {
    std::rethrow_exception(thrown);
    return 0;
  }));
  ASSERT_EQ(q.size(), 1U);
  connection got = q.get();
  here.send(5);
  EXPECT_EQ(got.recv<int>(), 5);
}

// ---- task_done and join ------------------------------------------------------------------------

TEST_F(Queue, JoinWaitsForWhatWasTaken) {
  queue<int> q;
  EXPECT_TRUE(q.join_for(0s));
  q.put(1);
  q.put(2);
  EXPECT_FALSE(q.join_for(0s));
  static_cast<void>(q.get());
  static_cast<void>(q.get());
  EXPECT_FALSE(q.join_for(10ms));
  q.task_done();
  EXPECT_FALSE(q.join_for(-1s));
  std::jthread later{[&] { q.task_done(); }};
  q.join();
}

TEST_F(Queue, TaskDoneOnceTooOftenIsAnError) {
  queue<int> q;
  EXPECT_THROW(q.task_done(), std::logic_error);
  q.put(1);
  EXPECT_THROW(q.task_done(), std::logic_error) << "no item was taken";
  static_cast<void>(q.get());
  q.task_done();
  EXPECT_THROW(q.task_done(), std::logic_error);
}

TEST_F(Queue, JoinDoesNotWaitForTheDead) {
  queue<int> q;
  q.put_range(std::vector{1, 2, 3});
  forked child{[&] {
    static_cast<void>(q.get());
    static_cast<void>(q.get());
    q.task_done();
    ::kill(::getpid(), SIGKILL);
    return 0;
  }};
  EXPECT_EQ(child.wait(), 1000 + SIGKILL);
  EXPECT_FALSE(q.join_for(100ms)) << "one is still in the queue";
  EXPECT_EQ(q.get(), 3);
  q.task_done();
  q.join();
  EXPECT_THROW(q.task_done(), std::logic_error);
}

TEST_F(Queue, WorkersOfOtherProcessesFinishForJoin) {
  queue<int> q;
  queue<int> results;
  std::deque<forked> workers;
  for (int w = 0; w < 4; ++w) {
    workers.emplace_back([&] {
      for (const int i : q) {
        results.put(i * i);
        q.task_done();
      }
      return 0;
    });
  }
  for (int i = 0; i < 10; ++i) {
    q.put(i);
  }
  q.join();
  EXPECT_EQ(results.size(), 10U);
  q.close();
  for (forked& worker : workers) {
    EXPECT_EQ(worker.wait(), 0);
  }
  int sum = 0;
  while (const auto i = results.try_get()) {
    sum += *i;
  }
  EXPECT_EQ(sum, 285);
}

// ---- items -------------------------------------------------------------------------------------

TEST_F(Queue, TakesItemsOfAnySize) {
  queue<std::string> q{3};
  lifo_queue<std::string> stack;
  for (const std::size_t bytes : {0U, 1U, 15U, 16U, 17U, 16'000U, 16'384U, 100'000U, 3'000'000U}) {
    const std::string text(bytes, 'x');
    q.put("small");
    q.put(text);
    EXPECT_EQ(q.get(), "small");
    EXPECT_TRUE(q.get() == text) << bytes;
    stack.put("small");
    stack.put(text);
    EXPECT_TRUE(stack.get() == text) << bytes;
    EXPECT_EQ(stack.get(), "small");
  }
}

TEST_F(Queue, GivesMemoryBackWhenItIsEmpty) {
  queue<std::string> q;
  for (int i = 0; i < 8; ++i) {
    q.put(std::string(std::size_t{10} << 20, static_cast<char>('a' + i)));
  }
  EXPECT_GT(q.storage_bytes(), std::size_t{64} << 20);
  for (int i = 0; i < 8; ++i) {
    EXPECT_EQ(q.get().front(), static_cast<char>('a' + i));
  }
  EXPECT_LT(q.storage_bytes(), std::size_t{1} << 20);
  q.put("again");
  EXPECT_EQ(q.get(), "again");
}

struct picky {
  int value = 0;
  template <class Archive>
  void save(Archive& ar) const {
    if (value < 0) {
      throw std::domain_error{"negative"};
    }
    ar(value);
  }
  template <class Archive>
  void load(Archive& ar) {
    ar(value);
    if (value == 13) {
      throw std::range_error{"unlucky"};
    }
    if (value == 14) {
      throw error{errc::protocol_error, task_ran::no, "worse"};
    }
  }
};

TEST_F(Queue, AnEncodingErrorSurfacesInPut) {
  queue<picky> q;
  q.put({1});
  EXPECT_THROW(q.put({-1}), std::domain_error);
  EXPECT_EQ(q.size(), 1U);
  EXPECT_EQ(q.get().value, 1);
}

TEST_F(Queue, ADecodingErrorNamesTheTypeAndTheNextItemIsRight) {
  queue<picky> q;
  q.put({13});
  q.put({14});
  q.put({2});
  EXPECT_THROW(static_cast<void>(q.get()), std::range_error);
  try {
    static_cast<void>(q.get());
    FAIL() << "decoded";
  } catch (const error& e) {
    EXPECT_EQ(e.code(), errc::argument_decode_failed);
    EXPECT_NE(std::string{e.what()}.find("picky"), std::string::npos) << e.what();
  }
  EXPECT_EQ(q.get().value, 2);
  q.task_done();
  EXPECT_TRUE(q.join_for(0s)) << "lost items are done";
}

// ---- handles -----------------------------------------------------------------------------------

TEST_F(Queue, CrossesThroughAPipe) {
  auto [left, right] = pipe();
  queue<int> q{5, {.name = "crossing"}};
  forked child{[&] {
    auto arrived = right.recv<queue<int>>();
    arrived.put(arrived.get() + 1);
    return arrived.name() == "crossing" && arrived.capacity() == 5 && arrived.id() == q.id() ? 0
                                                                                             : 1;
  }};
  q.put(1);
  left.send(q);
  EXPECT_EQ(child.wait(), 0);
  EXPECT_EQ(q.get(), 2);
}

TEST_F(Queue, OfAnotherTypeOrKindIsRefused) {
  auto [left, right] = pipe();
  left.send(queue<int>{});
  EXPECT_TRUE(
      fails_with(errc::argument_decode_failed, [&, &r = right] { return r.recv<queue<long>>(); }));
  left.send(queue<int>{});
  EXPECT_TRUE(fails_with(errc::argument_decode_failed,
                         [&, &r = right] { return r.recv<lifo_queue<int>>(); }));
  left.send(std::string(24, 'x'));
  EXPECT_TRUE(
      fails_with(errc::argument_decode_failed, [&, &r = right] { return r.recv<queue<int>>(); }));
}

TEST_F(Queue, CarriesQueuesAndConnections) {
  queue<std::pair<std::string, queue<int>>> outer;
  queue<connection> ends;
  forked child{[&] {
    for (int i = 0; i < 30; ++i) {
      auto [name, inner] = outer.get();
      inner.put(static_cast<int>(name.size()));
    }
    auto end = ends.get();
    end.send(std::string{"hello"});
    return 0;
  }};
  std::vector<queue<int>> inners(30);
  for (std::size_t i = 0; i < inners.size(); ++i) {
    outer.put({std::string(i, 'x'), inners[i]});
  }
  for (std::size_t i = 0; i < inners.size(); ++i) {
    EXPECT_EQ(inners[i].get(), static_cast<int>(i));
  }
  auto [left, right] = pipe();
  ends.put(right);
  right.close();
  EXPECT_EQ(left.recv<std::string>(), "hello");
  EXPECT_EQ(child.wait(), 0);
}

TEST_F(Queue, ALifoQueueFindsTheHandlesOfItsItems) {
  lifo_queue<queue<int>> stack;
  std::vector<queue<int>> inners(10);
  for (auto& inner : inners) {
    stack.put(inner);
  }
  for (std::size_t i = inners.size(); i-- > 0;) {
    EXPECT_EQ(stack.get().id(), inners[i].id());
    if (i == 5) {
      stack.put(inners[9]);
      EXPECT_EQ(stack.get().id(), inners[9].id());
    }
  }
}

TEST_F(Queue, TooManyHandlesAreAClearErrorAndNothingIsLost) {
  queue<connection> q;
  std::size_t count = 0;
  std::string why;
  while (why.empty() && count < 200'000) {
    auto [left, right] = pipe();
    try {
      q.put(left);
      ++count;
    } catch (const error& e) {
      EXPECT_EQ(e.code(), errc::resource_exhausted);
      why = e.what();
    }
  }
  EXPECT_FALSE(why.empty());
  EXPECT_EQ(q.size(), count);
  for (std::size_t i = 0; i < 10; ++i) {
    EXPECT_TRUE(q.get().is_open());
  }
  auto [left, right] = pipe();
  q.put(left);
  EXPECT_EQ(q.size(), count - 9);
}

/// Descriptors that wait in sockets of this process, as the kernel tells; nothing if it does not.
std::optional<std::size_t> descriptors_in_sockets() {
  std::optional<std::size_t> sum;
  for (const auto& entry : std::filesystem::directory_iterator{"/proc/self/fdinfo"}) {
    std::ifstream info{entry.path()};
    for (std::string word; info >> word;) {
      if (std::size_t count = 0; word == "scm_fds:" && info >> count) {
        sum = sum.value_or(0) + count;
      }
    }
  }
  return sum;
}

template <class Q>
void expect_one_descriptor_an_object(Q& q) {
  std::vector<connection> far;
  std::vector<connection> near;
  for (int i = 0; i < 3; ++i) {
    auto [left, right] = pipe();
    near.push_back(std::move(left));
    far.push_back(std::move(right));
  }
  const auto before = descriptors_in_sockets();
  for (int i = 0; i < 3000; ++i) {
    q.put(std::vector<connection>{far[static_cast<std::size_t>(i) % 3], far[0]});
  }
  const auto full = descriptors_in_sockets();
  if (before && full) {
    EXPECT_EQ(*full - *before, 3U);
  }
  for (int i = 0; i < 2999; ++i) {
    auto item = q.get();
    ASSERT_EQ(item.size(), 2U);
    if (i % 500 == 0) {
      item[1].send(i);
      EXPECT_EQ(near[0].template recv<int>(), i);
    }
  }
  near[0].close();
  auto last = q.get();
  ASSERT_EQ(last.size(), 2U);
  if (before) {
    EXPECT_EQ(descriptors_in_sockets(), before) << "nothing waits for an empty queue";
  }
}

TEST_F(Queue, ManyItemsOfOneObjectTakeOneDescriptor) {
  queue<std::vector<connection>> q;
  expect_one_descriptor_an_object(q);
}

TEST_F(Queue, ManyItemsOfOneObjectTakeOneDescriptorInAStack) {
  lifo_queue<std::vector<connection>> q;
  expect_one_descriptor_an_object(q);
}

// Each item has an object of its own, and all have one in common that is the first in the socket.
TEST_F(Queue, ObjectsBehindOneThatStaysAreGivenUp) {
  lifo_queue<std::vector<connection>> q;
  auto [near, far] = pipe();
  q.put(std::vector<connection>{far});
  const auto before = descriptors_in_sockets();
  for (int round = 0; round < 20; ++round) {
    for (int i = 0; i < 20; ++i) {
      auto [left, right] = pipe();
      left.send(i);
      q.put(std::vector<connection>{far, right});
    }
    for (int i = 19; i >= 0; --i) {
      auto item = q.get();
      ASSERT_EQ(item.size(), 2U);
      EXPECT_EQ(item[1].template recv<int>(), i);
    }
  }
  if (before) {
    EXPECT_LE(*descriptors_in_sockets(), *before + 16) << "not one for each that was there once";
  }
  EXPECT_EQ(q.get().size(), 1U);
}

TEST_F(Queue, TheObjectsOfManyItemsComeBackAsThemselves) {
  queue<std::vector<queue<int>>> q;
  std::vector<queue<int>> inner(40);
  std::mt19937 random{11};
  std::deque<std::vector<std::size_t>> expected;
  for (int step = 0; step < 2000; ++step) {
    if (expected.size() < 30 && random() % 2 == 0) {
      std::vector<std::size_t> which;
      std::vector<queue<int>> item;
      for (std::size_t i = random() % 4; i-- > 0;) {
        which.push_back(random() % inner.size());
        item.push_back(inner[which.back()]);
      }
      q.put(item);
      expected.push_back(which);
    } else if (!expected.empty()) {
      const auto item = q.get();
      ASSERT_EQ(item.size(), expected.front().size());
      for (std::size_t i = 0; i < item.size(); ++i) {
        ASSERT_EQ(item[i].id(), inner[expected.front()[i]].id());
      }
      expected.pop_front();
    }
  }
}

TEST_F(Queue, APriorityQueueRefusesHandles) {
  priority_queue<std::pair<int, std::vector<queue<int>>>,
                 decltype([](const auto& a, const auto& b) { return a.first < b.first; })>
      q;
  EXPECT_TRUE(fails_with(errc::argument_encode_failed, [&] {
    q.put({1, std::vector<queue<int>>(1)});
    return 0;
  }));
  q.put({1, {}});
  EXPECT_EQ(q.get().first, 1);
}

// ---- many processes ----------------------------------------------------------------------------

template <class Q>
void check_totals(Q q, bool keeps_order) {
  constexpr int producers = 3;
  constexpr int consumers = 3;
  constexpr int each = 1500;
  queue<std::tuple<long, int, bool>> totals;
  std::deque<forked> makers;
  std::deque<forked> takers;
  for (int p = 0; p < producers; ++p) {
    makers.emplace_back([&, p] {
      for (int i = 0; i < each; ++i) {
        q.put(std::tuple{i, p, std::string(static_cast<std::size_t>(i % 50), 'x')});
      }
      return 0;
    });
  }
  for (int c = 0; c < consumers; ++c) {
    takers.emplace_back([&] {
      long sum = 0;
      int count = 0;
      bool ordered = true;
      std::map<int, int> last;
      for (const auto& [i, p, text] : q) {
        sum += i;
        ++count;
        const auto [at, fresh] = last.try_emplace(p, i);
        ordered =
            ordered && (fresh || at->second < i) && text.size() == static_cast<std::size_t>(i % 50);
        at->second = i;
      }
      totals.put({sum, count, ordered});
      return 0;
    });
  }
  for (forked& maker : makers) {
    EXPECT_EQ(maker.wait(), 0) << "a producer's end depends on no consumer";
  }
  q.close();
  for (forked& taker : takers) {
    EXPECT_EQ(taker.wait(), 0);
  }
  long sum = 0;
  int count = 0;
  for (int c = 0; c < consumers; ++c) {
    const auto [s, n, ordered] = totals.get();
    sum += s;
    count += n;
    EXPECT_TRUE(ordered || !keeps_order);
  }
  EXPECT_EQ(count, producers * each);
  EXPECT_EQ(sum, long{producers} * each * (each - 1) / 2);
}

TEST_F(Queue, NothingIsLostOrDoubledBetweenManyProcesses) {
  check_totals(queue<std::tuple<int, int, std::string>>{}, true);
  check_totals(queue<std::tuple<int, int, std::string>>{8}, true);
  check_totals(lifo_queue<std::tuple<int, int, std::string>>{20}, false);
  check_totals(priority_queue<std::tuple<int, int, std::string>>{}, false);
}

TEST_F(Queue, AProducerEndsBeforeItsItemsAreRead) {
  queue<std::string> q;
  forked producer{[&] {
    for (int i = 0; i < 20; ++i) {
      q.put(std::string(200'000, static_cast<char>('a' + i)));
    }
    return 0;
  }};
  EXPECT_EQ(producer.wait(), 0);
  for (int i = 0; i < 20; ++i) {
    EXPECT_EQ(q.get(), std::string(200'000, static_cast<char>('a' + i)));
  }
}

TEST_F(Queue, SurvivesProcessesThatAreKilledAtAnyTime) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::minstd_rand random{seed};
  queue<std::pair<int, std::uint64_t>> q;
  queue<std::pair<int, std::uint64_t>> back;
  int kills = 0;
  for (int round = 0; round < 25; ++round) {
    forked producer{[&, round] {
      for (std::uint64_t i = 0;; ++i) {
        q.put({round, i});
      }
      return 0;
    }};
    forked consumer{[&] {
      for (;;) {
        back.put(q.get());
      }
      return 0;
    }};
    const std::size_t items = 1 + random() % 500;
    EXPECT_TRUE(eventually([&] { return back.size() >= items; }));
    producer.kill();
    consumer.kill();
    ++kills;
    std::uint64_t next = 0;
    int missing = 0;
    const auto see = [&](const std::pair<int, std::uint64_t>& item) {
      ASSERT_EQ(item.first, round);
      ASSERT_GE(item.second, next) << "an item came twice";
      missing += static_cast<int>(item.second - next);
      next = item.second + 1;
    };
    while (const auto item = back.try_get()) {
      see(*item);
    }
    while (const auto item = q.try_get()) {
      see(*item);
    }
    EXPECT_LE(missing, 1) << "more was lost than what the consumer had in its hands";
  }
  EXPECT_EQ(kills, 25);
}

// ---- death at every step -----------------------------------------------------------------------

#if defined(TROUPE_FAILPOINTS) && TROUPE_FAILPOINTS

std::atomic<long> steps_left{0};

/// Runs `act` in children that die at their first, second, ... step, and `check` after each death,
/// with whether the child came to the end.
template <class Prepare, class Act, class Check>
void die_at_every_step(const Prepare& prepare, const Act& act, const Check& check) {
  for (long step = 0;; ++step) {
    SCOPED_TRACE("step " + std::to_string(step));
    ASSERT_LT(step, 5000);
    auto q = prepare();
    forked child{[&] {
      steps_left = step;
      detail::crash_hook = [] {
        if (steps_left-- == 0) {
          ::kill(::getpid(), SIGKILL);
        }
      };
      act(q);
      return 0;
    }};
    const bool ended = child.wait() == 0;
    check(q, ended);
    if (ended || testing::Test::HasFatalFailure()) {
      EXPECT_GT(step, 5) << "the hook was not called";
      return;
    }
  }
}

template <class Q>
std::vector<std::string> drain(Q& q) {
  std::vector<std::string> all;
  while (auto item = q.try_get()) {
    all.push_back(std::move(*item));
  }
  return all;
}

// The rest of the queue works: another item goes in and out, and no process is waited for.
template <class Q>
void expect_sound(Q& q) {
  q.put("last");
  ASSERT_EQ(q.get(), "last");
  while (q.join_for(0s) == false) {
    try {
      q.task_done();
    } catch (const std::logic_error&) {
      ASSERT_TRUE(q.join_for(10s)) << "the dead's items count still";
    }
  }
}

template <class Q>
void model_check(const std::vector<std::string>& before, const std::string& added, bool grow) {
  const auto prepare = [&] {
    Q q;
    q.put_range(before);
    return q;
  };
  Q reference = prepare();
  const std::vector<std::string> all = drain(reference);
  reference.put_range(before);
  reference.put(added);
  const std::vector<std::string> with = drain(reference);

  die_at_every_step(
      prepare, [&](Q& q) { q.put(added); },
      [&](Q& q, bool ended) {
        const auto now = drain(q);
        ASSERT_TRUE(now == with || (!ended && now == all)) << now.size();
        expect_sound(q);
      });
  if (grow) {
    return;
  }
  const std::vector<std::string> rest(all.begin() + 1, all.end());
  die_at_every_step(
      prepare, [&](Q& q) { static_cast<void>(q.get()); },
      [&](Q& q, bool ended) {
        const auto now = drain(q);
        ASSERT_TRUE(now == rest || (!ended && now == all)) << now.size();
        expect_sound(q);
      });
  die_at_every_step(
      prepare,
      [&](Q& q) {
        static_cast<void>(q.get_some(2));
        q.task_done();
        q.close();
      },
      [&](Q& q, bool ended) {
        const bool closed = q.is_closed();
        ASSERT_TRUE(closed || !ended);
        std::vector<std::string> now;
        try {
          now = drain(q);
        } catch (const queue_closed&) {
          ASSERT_TRUE(closed);
        }
        while (q.size() == 0 && !q.join_for(0s)) {
          try {
            q.task_done();
          } catch (const std::logic_error&) {
            ASSERT_TRUE(q.join_for(10s));
          }
        }
      });
}

TEST_F(Queue, IsWholeAfterADeathAtAnyStep) {
  model_check<queue<std::string>>({"a", "bb", "ccc"}, "dddd", false);
}
TEST_F(Queue, ALifoQueueIsWholeAfterADeathAtAnyStep) {
  model_check<lifo_queue<std::string>>({"a", "bb", "ccc"}, "dddd", false);
}
TEST_F(Queue, APriorityQueueIsWholeAfterADeathAtAnyStep) {
  std::vector<std::string> some;
  for (int i = 0; i < 30; ++i) {
    some.push_back(std::to_string(100 + i * 7 % 31));
  }
  model_check<priority_queue<std::string>>(some, "0", false);
  model_check<priority_queue<std::string>>(some, "119x", false);
}
TEST_F(Queue, IsWholeAfterADeathWhileItGrows) {
  const std::vector<std::string> some{std::string(5000, 'a'), std::string(5000, 'b')};
  const std::string large(20'000, 'c');
  model_check<queue<std::string>>(some, large, true);
  model_check<lifo_queue<std::string>>(some, large, true);
  model_check<priority_queue<std::string>>(some, large, true);
}

TEST_F(Queue, OfQueuesIsWholeAfterADeathAtAnyStep) {
  // What a dead consumer moved on the way to its own item is not lost with it.
  const std::vector<queue<int>> inners(4);
  const auto prepare = [&] {
    queue<queue<int>> q;
    for (const auto& inner : inners) {
      q.put(inner);
    }
    return q;
  };
  const auto ids = [](queue<queue<int>>& q) {
    std::vector<std::uint64_t> all;
    while (auto item = q.try_get()) {
      all.push_back(item->id());
    }
    return all;
  };
  std::vector<std::uint64_t> all;
  for (const auto& inner : inners) {
    all.push_back(inner.id());
  }
  const std::vector<std::uint64_t> rest(all.begin() + 1, all.end());
  die_at_every_step(
      prepare, [&](auto& q) { static_cast<void>(q.get()); },
      [&](auto& q, bool ended) {
        const auto now = ids(q);
        ASSERT_TRUE(now == rest || (!ended && now == all)) << now.size();
        q.put(inners[2]);
        ASSERT_EQ(q.get().id(), inners[2].id());
      });
  std::vector<std::uint64_t> with = all;
  with.push_back(inners[0].id());
  die_at_every_step(
      prepare, [&](auto& q) { q.put(inners[0]); },
      [&](auto& q, bool ended) {
        const auto now = ids(q);
        ASSERT_TRUE(now == with || (!ended && now == all)) << now.size();
        q.put(inners[2]);
        ASSERT_EQ(q.get().id(), inners[2].id());
      });
  // A stack takes from the end of the socket that was filled last, so all are moved.
  die_at_every_step(
      [&] {
        lifo_queue<queue<int>> q;
        for (const auto& inner : inners) {
          q.put(inner);
        }
        return q;
      },
      [&](auto& q) { static_cast<void>(q.get()); },
      [&](auto& q, bool ended) {
        std::vector<std::uint64_t> now;
        while (auto item = q.try_get()) {
          now.insert(now.begin(), item->id());
        }
        const std::vector<std::uint64_t> fewer(all.begin(), all.end() - 1);
        ASSERT_TRUE(now == fewer || (!ended && now == all)) << now.size();
      });
}

/// Items that have objects in common, in a table that grows, with others behind one that stays.
template <class Q>
void die_with_shared_objects() {
  const std::vector<queue<int>> inners(40);
  const auto item = [&](std::initializer_list<std::size_t> which) {
    std::vector<queue<int>> made;
    for (const std::size_t one : which) {
      made.push_back(inners[one]);
    }
    return made;
  };
  const std::vector<queue<int>> many(inners.begin(), inners.end());
  const auto ids_of = [](const std::vector<queue<int>>& from) {
    std::vector<std::uint64_t> ids;
    for (const auto& one : from) {
      ids.push_back(one.id());
    }
    return ids;
  };
  const auto drained = [&](Q& q) {
    std::vector<std::vector<std::uint64_t>> all;
    while (auto one = q.try_get()) {
      all.push_back(ids_of(*one));
    }
    return all;
  };
  const auto prepare = [&] {
    Q q;
    q.put(item({0, 1}));
    q.put(item({1}));
    q.put(item({0, 2}));
    for (std::size_t i = 3; i < 9; ++i) {
      q.put(item({i, 0}));
      static_cast<void>(q.get());
      q.put(item({0, 1, i}));
    }
    return q;
  };
  Q reference = prepare();
  const auto all = drained(reference);
  for (const auto& added : {item({0, 9}), item({1}), many}) {
    Q with_it = prepare();
    with_it.put(added);
    const auto with = drained(with_it);
    die_at_every_step(
        prepare, [&](Q& q) { q.put(added); },
        [&](Q& q, bool ended) {
          const auto now = drained(q);
          ASSERT_TRUE(now == with || (!ended && now == all)) << now.size();
          q.put(item({1}));
          ASSERT_EQ(ids_of(q.get()), ids_of(item({1})));
        });
  }
  const std::vector<std::vector<std::uint64_t>> rest(all.begin() + 1, all.end());
  const auto before = descriptors_in_sockets();
  die_at_every_step(
      prepare, [&](Q& q) { static_cast<void>(q.get()); },
      [&](Q& q, bool ended) {
        const auto now = drained(q);
        ASSERT_TRUE(now == rest || (!ended && now == all)) << now.size();
        if (before) {
          ASSERT_EQ(descriptors_in_sockets(), before) << "nothing waits for an empty queue";
        }
      });
}

TEST_F(Queue, WithObjectsInCommonIsWholeAfterADeathAtAnyStep) {
  die_with_shared_objects<queue<std::vector<queue<int>>>>();
}
TEST_F(Queue, AStackWithObjectsInCommonIsWholeAfterADeathAtAnyStep) {
  die_with_shared_objects<lifo_queue<std::vector<queue<int>>>>();
}

#endif

}  // namespace
}  // namespace troupe
