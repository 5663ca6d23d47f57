// SPDX-License-Identifier: BSD-3-Clause
// Another process has written anything at all over the memory of a queue. The other processes get
// an error, or an item that is none; none reads or writes outside of the memory, or waits for what
// cannot come. (The lock itself is not written to: the C library follows what it finds there.)
#include "troupe/detail/descriptor.hpp"
#include "troupe/detail/memory.hpp"
#include "troupe/detail/region.hpp"
#include "troupe/queue.hpp"

#include "runtime/shared/shared_fixture.hpp"
#include "shared/queue/queue_state.hpp"
#include "support/fails_with.hpp"

#include <gtest/gtest.h>

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <random>
#include <span>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>

namespace troupe {
namespace {

using namespace std::chrono_literals;
using test::fails_with;
using test::forked;
using random_numbers = std::mt19937_64;
using words = std::span<std::atomic<std::uint64_t>>;

using state = detail::queue_state;
constexpr std::size_t word_of(std::size_t offset) {
  return offset / sizeof(std::uint64_t);
}
enum word : std::size_t {
  area = word_of(offsetof(state, area)),
  area_bytes = word_of(offsetof(state, area_bytes)),
  index_room = word_of(offsetof(state, index_room)),
  version = word_of(offsetof(state, version)),
  tail = word_of(offsetof(state, tail)),
  number_put = word_of(offsetof(state, put)),
  head = word_of(offsetof(state, head)),
  number_done = word_of(offsetof(state, done)),
  journal_version = word_of(offsetof(state, journal_version)),
  journal_size = word_of(offsetof(state, journal_size)),
  journal = word_of(offsetof(state, journal)),
  state_words = word_of(sizeof(state))
};

/// The memory of the one queue that this process has, as a process that damages it sees it.
class victim {
 public:
  victim() {
    for (const auto& entry : std::filesystem::directory_iterator{"/proc/self/fd"}) {
      std::error_code gone;
      const auto target = std::filesystem::read_symlink(entry.path(), gone).string();
      if (gone || target.find("memfd:troupe-") == std::string::npos ||
          target.find("queue") == std::string::npos) {
        continue;
      }
      const detail::descriptor memory{::open(entry.path().c_str(), O_RDWR | O_CLOEXEC)};
      struct stat info{};
      if (!memory || ::fstat(memory.number(), &info) != 0 || info.st_size == 0) {
        continue;
      }
      const auto bytes = static_cast<std::size_t>(info.st_size);
      void* const at =
          ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, memory.number(), 0);
      if (at == MAP_FAILED) {
        throw std::runtime_error{"cannot map a queue"};
      }
      detail::mapping view{static_cast<std::byte*>(at), bytes};
      const auto& first = *reinterpret_cast<const detail::region_header*>(view.data());
      const bool is_region = first.slots_offset == detail::region::slots_offset() &&
                             first.slot_count == detail::region_slots;
      (is_region ? region_ : items_) = std::move(view);
    }
    if (region_.data() == nullptr || items_.data() == nullptr) {
      throw std::logic_error{"no queue found"};
    }
  }

  [[nodiscard]] words state() const {
    return all(region_).subspan(detail::region::payload_offset() / 8, state_words);
  }
  [[nodiscard]] words items() const { return all(items_); }
  /// Of the region, what comes behind the lock: undo log, wait channels, slots.
  [[nodiscard]] words ledger() const {
    constexpr std::size_t begin = offsetof(detail::region_header, last_sweep) / 8;
    return all(region_).subspan(begin, detail::region::payload_offset() / 8 - begin);
  }

 private:
  static words all(const detail::mapping& view) {
    return {reinterpret_cast<std::atomic<std::uint64_t>*>(view.data()), view.size() / 8};
  }
  detail::mapping region_;
  detail::mapping items_;
};

template <class Q>
class QueueDamage : public test::shared_objects {
 protected:
  /// Numbers that ask for terabytes must not get them while such a test fails.
  void SetUp() override {
    before_ = ::signal(SIGXFSZ, SIG_IGN);
    ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &limit_), 0);
    rlimit less = limit_;
    less.rlim_cur = rlim_t{64} << 20;
    ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &less), 0);
  }
  void TearDown() override {
    ::setrlimit(RLIMIT_FSIZE, &limit_);
    ::signal(SIGXFSZ, before_);
  }

  static std::uint64_t bad_number(random_numbers& from, std::uint64_t was) {
    switch (from() % 8) {
      case 0:
        return 0;
      case 1:
        return was + 16 * (from() % 64) - 512;
      case 2:
        return was ^ (std::uint64_t{1} << from() % 64);
      case 3:
        return ~std::uint64_t{0} - from() % 64;
      case 4:
        return from() % 100'000;
      case 5:
        return std::uint64_t{1} << from() % 64;
      case 6:
        return was + 1;
      default:
        return from();
    }
  }
  static void damage(random_numbers& from, words what, std::size_t most) {
    const std::size_t times = 1 + from() % most;
    for (std::size_t i = 0; i < times; ++i) {
      auto& one = what[from() % what.size()];
      one.store(bad_number(from, one.load()));
    }
  }
  static void damage_anything(random_numbers& from, const victim& of) {
    switch (from() % 5) {
      case 0:
        return damage(from, of.state().first(journal), 1);
      case 1:
        return damage(from, of.state().first(journal), 8);
      case 2:
        // What an operation left half done, it is said: that is undone first.
        of.state()[journal_size].store(from() % 70);
        of.state()[journal_version].store(of.state()[version].load());
        return damage(from, of.state().subspan(journal), 100);
      case 3:
        return damage(from, of.ledger(), 200);
      default:
        return damage(from, of.items(), 500);
    }
  }

  static std::string text(random_numbers& from) {
    return std::string(from() % 4 == 0 ? from() % 6000 : from() % 100, 'x');
  }
  static void use(Q& q, random_numbers& from) {
    switch (from() % 8) {
      case 0:
      case 1:
        static_cast<void>(q.try_put(text(from)));
        break;
      case 2:
        static_cast<void>(q.put_for(text(from), 1ms));
        break;
      case 3:
      case 4:
        static_cast<void>(q.try_get());
        break;
      case 5:
        static_cast<void>(q.get_for(1ms));
        break;
      case 6:
        static_cast<void>(q.join_for(0s));
        break;
      default:
        q.task_done();
        break;
    }
  }
  /// Whatever happens, it is one of these.
  static bool use_and_catch(Q& q, random_numbers& from) {
    try {
      use(q, from);
    } catch (const error&) {  // also queue_closed
    } catch (const std::logic_error&) {
    } catch (const std::exception& other) {
      std::fprintf(stderr, "threw %s\n", other.what());
      return false;
    }
    return true;
  }

 private:
  rlimit limit_{};
  void (*before_)(int) = SIG_DFL;
};
using kinds =
    testing::Types<queue<std::string>, lifo_queue<std::string>, priority_queue<std::string>>;
TYPED_TEST_SUITE(QueueDamage, kinds);

TYPED_TEST(QueueDamage, OfAnyKindIsAnErrorOrAnItemThatIsNone) {
  const std::uint64_t first = std::random_device{}();
  auto* const at = static_cast<std::atomic<std::uint64_t>*>(
      ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  forked user{[&] {
    for (std::uint64_t i = 0; i < 400; ++i) {
      at->store(first + i);
      random_numbers random{first + i};
      TypeParam q{random() % 2 == 0 ? 0U : 24U};
      for (std::uint64_t n = random() % 20; n > 0; --n) {
        q.put(TestFixture::text(random));
      }
      for (std::uint64_t n = random() % 10; n > 0; --n) {
        static_cast<void>(q.try_get());
      }
      q.put("one");
      TestFixture::damage_anything(random, victim{});
      for (int n = 0; n < 12; ++n) {
        if (!TestFixture::use_and_catch(q, random)) {
          return 1;
        }
      }
    }
    return 0;
  }};
  EXPECT_EQ(user.wait(), 0) << "seed " << at->load();
  ::munmap(at, 4096);
}

TYPED_TEST(QueueDamage, WhileItIsUsedHarmsNoOtherProcess) {
  const std::uint64_t seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  for (std::uint64_t round = 0; round < 5; ++round) {
    TypeParam q{100};
    q.put("one");
    const victim memory;
    forked vandal{[&] {
      random_numbers random{seed + round};
      for (;;) {
        TestFixture::damage_anything(random, memory);
      }
      return 0;
    }};
    forked user{[&] {
      random_numbers random{~seed + round};
      for (int i = 0; i < 1000; ++i) {
        if (!TestFixture::use_and_catch(q, random)) {
          return 1;
        }
      }
      return 0;
    }};
    EXPECT_EQ(user.wait(), 0);
    vandal.kill();
  }
}

TYPED_TEST(QueueDamage, OfItsNumberOfItemsIsNotWaitedFor) {
  {
    TypeParam full{2};
    full.put("x");
    victim{}.state()[number_put].store(2);
    EXPECT_TRUE(fails_with(errc::protocol_error, [&] { return full.put("y"), 0; }));
  }
  {
    TypeParam empty;
    empty.put("x");
    victim{}.state()[number_put].store(0);
    EXPECT_TRUE(fails_with(errc::protocol_error, [&] { return empty.get(); }));
  }
  {
    TypeParam unfinished_one;
    unfinished_one.put("x");
    static_cast<void>(unfinished_one.get());
    victim{}.state()[number_done].store(~std::uint64_t{0});
    EXPECT_TRUE(fails_with(errc::protocol_error, [&] { return unfinished_one.join(), 0; }));
  }
}

TYPED_TEST(QueueDamage, OfTheAreaOfItsItemsAllocatesNothing) {
  for (const word which : {area, area_bytes, index_room, head, tail}) {
    if (which == head && std::is_same_v<TypeParam, lifo_queue<std::string>>) {
      continue;  // it has none
    }
    for (const std::uint64_t value : {std::uint64_t{1} << 38, ~std::uint64_t{0}}) {
      TypeParam q;
      q.put("x");
      victim{}.state()[which].store(value);
      // Who puts into a queue does not look at the other side's word while there is room.
      if (which != head || !std::is_same_v<TypeParam, queue<std::string>>) {
        EXPECT_TRUE(fails_with(errc::protocol_error, [&] { return q.put("y"), 0; })) << which;
      }
      EXPECT_TRUE(fails_with(errc::protocol_error, [&] { return q.get(); })) << which;
    }
  }
}

using QueueDamageOfHeap = QueueDamage<priority_queue<std::string>>;

TEST_F(QueueDamageOfHeap, APositionBeforeTheFirstIsNotFollowed) {
  priority_queue<std::string> q;
  q.put("b");
  q.put("c");
  // The heap's first word: with the record's length added it comes out as a small number.
  victim{}.items()[0].store(~std::uint64_t{0} - 15);
  EXPECT_TRUE(fails_with(errc::protocol_error, [&] { return q.put("a"), 0; }));
}

}  // namespace
}  // namespace troupe
