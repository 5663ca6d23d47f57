// SPDX-License-Identifier: BSD-3-Clause
// Shared objects when the system gives no memory: an error at the call that wanted it, and all is
// as it was before.
#include "troupe/array.hpp"
#include "troupe/barrier.hpp"
#include "troupe/condition.hpp"
#include "troupe/connection.hpp"
#include "troupe/event.hpp"
#include "troupe/mutex.hpp"
#include "troupe/queue.hpp"
#include "troupe/semaphore.hpp"
#include "troupe/shared_memory.hpp"
#include "troupe/value.hpp"

#include "shared_fixture.hpp"
#include "support/fails_with.hpp"

#include <gtest/gtest.h>

#include <cerrno>
#include <cstddef>
#include <string>
#include <vector>

#if defined(TROUPE_FAILPOINTS) && TROUPE_FAILPOINTS

namespace troupe {
namespace {

using detail::failpoint::action;
using detail::failpoint::arm;
using test::fails_with;
using test::forked;

/// Bytes that a queue does not keep once it is empty.
constexpr auto enough = std::size_t{70} << 20;

class NoMemory : public test::shared_objects {
 protected:
  NoMemory() {
    static_cast<void>(queue<int>{}.size());  // sets up what all use
    take_baseline();
  }
};

template <class Make>
void expect_fails_and_then_works(const Make& make) {
  for (const char* point : {"memory.create", "memory.allocate"}) {
    SCOPED_TRACE(point);
    arm(point, action::give_errno, 1, 1, point == std::string{"memory.create"} ? EMFILE : ENOSPC);
    EXPECT_TRUE(fails_with(errc::resource_exhausted, make));
    EXPECT_EQ(detail::failpoint::hits(point), 1U);
    EXPECT_NO_THROW(static_cast<void>(make()));
  }
}

TEST_F(NoMemory, ForAnObjectIsAnErrorWhateverItIs) {
  expect_fails_and_then_works([] { return value<int>{1}; });
  expect_fails_and_then_works([] { return value<std::string::size_type>{}; });
  expect_fails_and_then_works([] { return array<double>(1000); });
  expect_fails_and_then_works([] { return shared_memory{1000}; });
  expect_fails_and_then_works([] { return mutex{}; });
  expect_fails_and_then_works([] { return recursive_mutex{}; });
  expect_fails_and_then_works([] { return semaphore{1}; });
  expect_fails_and_then_works([] { return bounded_semaphore{1}; });
  expect_fails_and_then_works([] { return event{}; });
  expect_fails_and_then_works([] { return condition{}; });
  expect_fails_and_then_works([] { return barrier{2}; });
  expect_fails_and_then_works([] { return queue<int>{5}; });
  expect_fails_and_then_works([] { return lifo_queue<int>{}; });
  expect_fails_and_then_works([] { return priority_queue<int>{}; });
}

template <class Q>
class NoMemoryForItems : public NoMemory {};
using kinds =
    testing::Types<queue<std::string>, lifo_queue<std::string>, priority_queue<std::string>>;
TYPED_TEST_SUITE(NoMemoryForItems, kinds);

TYPED_TEST(NoMemoryForItems, AQueueIsNotMade) {
  arm("queue.create", action::give_errno, 1, 1, EMFILE);
  EXPECT_TRUE(fails_with(errc::resource_exhausted, [] { return TypeParam{}; }));
  EXPECT_TRUE(TypeParam{}.empty());
}

TYPED_TEST(NoMemoryForItems, APutFailsAndNothingIsLost) {
  TypeParam q;
  arm("queue.provide", action::give_errno, 1, 1, ENOSPC);
  EXPECT_TRUE(fails_with(errc::resource_exhausted, [&] { return q.put("first"), 0; }));
  EXPECT_TRUE(q.empty());
  q.put("a");
  q.put("a");
  const std::string large(100'000, 'a');
  arm("queue.provide", action::give_errno, 1, 1, ENOSPC);
  EXPECT_TRUE(fails_with(errc::resource_exhausted, [&] { return q.put(large), 0; }));
  EXPECT_EQ(q.size(), 2U);
  q.put(large);
  std::size_t bytes = 0;
  for (int i = 0; i < 3; ++i) {
    bytes += q.get().size();
    q.task_done();
  }
  EXPECT_EQ(bytes, large.size() + 2);
  q.join();  // what failed counts nowhere
}

TEST_F(NoMemory, MoreThanIsFreeIsNotEvenAskedFor) {
  // The system would give it, and kill a process when it is used.
  queue<std::string> q;
  q.put("first");
  const std::string large(enough, 'x');
  arm("memory.free", action::give_errno, 1, 2, ENOMEM);
  EXPECT_TRUE(fails_with(errc::resource_exhausted, [&] { return q.put(large), 0; }));
  EXPECT_TRUE(fails_with(errc::resource_exhausted, [] { return shared_memory{enough}; }));
  q.put("second");
  EXPECT_EQ(q.get_some(5), (std::vector<std::string>{"first", "second"}));
}

TYPED_TEST(NoMemoryForItems, ARangeIsPutUpToTheOneThatFails) {
  TypeParam q;
  q.put("a");
  arm("queue.provide", action::give_errno, 1, 1, ENOSPC);
  const std::vector<std::string> range{"a", std::string(100'000, 'a'), "a"};
  EXPECT_TRUE(fails_with(errc::resource_exhausted, [&] { return q.put_range(range), 0; }));
  EXPECT_EQ(q.size(), 2U);
  EXPECT_EQ(q.get(), "a");
  EXPECT_EQ(q.get(), "a");
  EXPECT_TRUE(q.empty());
}

TYPED_TEST(NoMemoryForItems, AGetThatCannotMapThemLosesNone) {
  auto [left, right] = pipe();
  TypeParam q;
  q.put("item");
  forked other{[&] {
    auto arrived = right.template recv<TypeParam>();
    q = TypeParam{};  // the one it was forked with has its items mapped
    arm("queue.map", action::give_errno, 1, 1, ENOMEM);
    const bool failed =
        static_cast<bool>(fails_with(errc::resource_exhausted, [&] { return arrived.get(); }));
    return failed && arrived.size() == 1 && arrived.get() == "item" ? 0 : 1;
  }};
  left.send(q);
  EXPECT_EQ(other.wait(), 0);
}

TYPED_TEST(NoMemoryForItems, AnEmptyQueueKeepsItsMemoryThen) {
  TypeParam q;
  q.put(std::string(enough, 'x'));
  arm("queue.provide", action::give_errno, 1, 1, ENOSPC);
  EXPECT_EQ(q.get().size(), enough);
  EXPECT_EQ(detail::failpoint::hits("queue.provide"), 1U);
  EXPECT_GT(q.storage_bytes(), enough);
  q.put("again");
  EXPECT_EQ(q.get(), "again");
  EXPECT_LT(q.storage_bytes(), enough);
}

}  // namespace
}  // namespace troupe

#endif
