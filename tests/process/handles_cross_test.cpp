// SPDX-License-Identifier: BSD-3-Clause
// Handles of kernel objects cross with tasks, results and initializers, wherever they are inside of
// them, and are closed everywhere afterwards.
#include "troupe/detail/attachment.hpp"
#include "troupe/detail/memory.hpp"

#include "os/descriptor_attachment.hpp"
#include "pool_fixture.hpp"

#include <signal.h>
#include <stdlib.h>

#include <atomic>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace troupe::test {
namespace {

/// The simplest shared object: a number in memory of its own.
class tally {
 public:
  tally() = default;  // refers to nothing
  static tally make() {
    tally made;
    made.what_ = std::make_shared<const detail::descriptor_attachment>(
        detail::new_attachment_id(), detail::create_memory("troupe-tally", 4096));
    return made;
  }
  int add(int n) {
    const detail::descriptor copy{::fcntl(what_->number(), F_DUPFD_CLOEXEC, 3)};
    const detail::mapping view = detail::map_memory(copy, 0, 4096);
    return std::atomic_ref{*reinterpret_cast<int*>(view.data())}.fetch_add(n) + n;
  }
  template <class Archive>
  void save(Archive& ar) const {
    detail::save_attachment(ar, what_);
  }
  template <class Archive>
  void load(Archive& ar) {
    what_ = detail::load_attachment(ar);
  }

 private:
  std::shared_ptr<const detail::attachment> what_;
};

int add_to(tally t, int n) {
  return t.add(n);
}
int add_to_all(std::vector<tally> all, int n) {
  int sum = 0;
  for (tally& t : all) {
    sum += t.add(n);
  }
  return sum;
}
tally make_in_worker(int n) {
  tally t = tally::make();
  t.add(n);
  return t;
}
std::optional<tally> initialized_with;
void initialize(tally t) {
  t.add(1);
  initialized_with = std::move(t);
}
int add_to_initialized(int n) {
  return initialized_with->add(n);
}
[[noreturn]] void add_and_die(tally t) {
  t.add(1);
  ::kill(::getpid(), SIGKILL);
  std::abort();
}

struct HandlesCross : every_start_method {};
TROUPE_FOR_EVERY_START_METHOD(HandlesCross);

TEST_P(HandlesCross, CrossesAsAnArgument) {
  pool p{options()};
  tally t = tally::make();
  EXPECT_EQ(p.apply(add_to, t, 5), 5);
  EXPECT_EQ(p.apply(add_to, t, 2), 7);
  EXPECT_EQ(t.add(0), 7);
}

TEST_P(HandlesCross, CrossesInsideOfOtherValues) {
  pool p{options()};
  tally a = tally::make();
  tally b = tally::make();
  EXPECT_EQ(p.apply(add_to_all, std::vector<tally>{a, b, a}, 1), 1 + 1 + 2);
  EXPECT_EQ(a.add(0), 2);
  EXPECT_EQ(b.add(0), 1);
}

TEST_P(HandlesCross, CrossesAsAResult) {
  pool p{options()};
  future<tally> made = p.apply_async(make_in_worker, 40);
  tally t = made.get();
  EXPECT_EQ(t.add(2), 42);
  EXPECT_EQ(p.apply(add_to, t, 1), 43) << "and back into a worker";
  p.terminate();
  EXPECT_EQ(t.add(1), 44) << "it outlives the process that made it";
}

TEST_P(HandlesCross, CrossesWithEveryItemOfAMap) {
  pool p{options()};
  tally t = tally::make();
  std::vector<std::pair<tally, int>> items;
  for (int i = 0; i < 500; ++i) {
    items.emplace_back(i % 100 == 0 ? tally::make() : t, 1);
  }
  p.starmap(add_to, items);
  EXPECT_EQ(t.add(0), 495);
}

TEST_P(HandlesCross, DistinctObjectsOfALongMapAllArrive) {
  pool p{options()};
  std::vector<tally> items;
  for (int i = 0; i < 300; ++i) {
    items.push_back(tally::make());
  }
  p.map([](tally t) { return t.add(7); }, items);
  for (tally& t : items) {
    EXPECT_EQ(t.add(0), 7);
  }
}

TEST_P(HandlesCross, ResultsOfAMapCarryTheirOwn) {
  pool p{options()};
  std::vector<tally> made = p.map(make_in_worker, std::views::iota(0, 200));
  for (int i = 0; i < 200; ++i) {
    EXPECT_EQ(made[static_cast<std::size_t>(i)].add(0), i);
  }
  int expected = 0;
  for (tally t : p.imap(make_in_worker, std::views::iota(0, 50), {.chunk = 8})) {
    EXPECT_EQ(t.add(0), expected++);
  }
}

TEST_P(HandlesCross, IsBoundToACallable) {
  pool p{options()};
  tally t = tally::make();
  p.map(partial(add_to, t), std::vector<int>(300, 1));
  EXPECT_EQ(t.add(0), 300);
}

TEST_P(HandlesCross, CrossesWithTheInitializerOfEveryWorkerAndItsReplacement) {
  tally t = tally::make();
  pool_options how = options(1);
  how.initializer = call(initialize, t);
  pool p{how};
  EXPECT_EQ(t.add(0), 1);
  EXPECT_EQ(p.apply(add_to_initialized, 10), 11);
  EXPECT_THROW(p.apply(add_and_die, t), worker_lost);
  EXPECT_EQ(p.apply(add_to_initialized, 10), 23) << "the replacement has it, too";
}

TEST_P(HandlesCross, ComesAgainWithARetry) {
  pool p{options(1)};
  tally t = tally::make();
  EXPECT_THROW(p.with({.retries = 2}).apply(add_and_die, t), worker_lost);
  EXPECT_EQ(t.add(0), 3);
}

TEST_P(HandlesCross, IsClosedInTheWorkerWithItsTask) {
  pool p{options(1)};
  const auto open_here = [] {
    return static_cast<int>(std::distance(std::filesystem::directory_iterator{"/proc/self/fd"},
                                          std::filesystem::directory_iterator{}));
  };
  tally first = tally::make();
  p.apply(add_to, first, 1);
  const int before = p.apply(open_here);
  for (int i = 0; i < 100; ++i) {
    tally t = tally::make();
    p.apply(add_to, t, 1);
    t = p.apply(make_in_worker, 1);
  }
  EXPECT_EQ(p.apply(open_here), before);
}

TEST_P(HandlesCross, TooMuchOfItIsAClearError) {
  pool p{options(1)};
  std::vector<tally> many;
  for (int i = 0; i < 65; ++i) {
    many.push_back(tally::make());
  }
  EXPECT_TRUE(fails_with(errc::payload_too_large, [&] { return p.apply(add_to_all, many, 1); }));
  many.pop_back();
  EXPECT_EQ(p.apply(add_to_all, many, 1), 64) << "and costs nothing else";
}

TEST_P(HandlesCross, OfATaskThatIsCancelledIsClosed) {
  pool p{options(1)};
  const std::string gate = file("gate");
  auto running = p.apply_async(wait_at, file("running"), gate);
  std::vector<future<int>> behind;
  for (int i = 0; i < 20; ++i) {
    behind.push_back(p.apply_async(add_to, tally::make(), 1));
  }
  for (auto& f : behind) {
    EXPECT_TRUE(f.cancel());
  }
  mark(gate);
  EXPECT_EQ(running.get(), 1);
}

}  // namespace
}  // namespace troupe::test
