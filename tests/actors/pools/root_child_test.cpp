// SPDX-License-Identifier: BSD-3-Clause
// The list of what runs without a parent, which system::tree shows.
#include "pools/root_child.hpp"

#include "support/watchdog.hpp"

#include <gtest/gtest.h>

#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <vector>

namespace troupe::detail {
namespace {

struct fake_child final : root_child {
  std::atomic<child_phase> phase{child_phase::running};
  [[nodiscard]] child_status seen() const override {
    child_status status;
    status.kind = "fake";
    status.phase = phase;
    return status;
  }
};

std::shared_ptr<fake_child> listed(const std::string& name) {
  auto made = std::make_shared<fake_child>();
  list_at_root(made, name);
  return made;
}

std::string names() {
  std::string all;
  for (const listed_child& one : look_at_root().children) {
    all += (all.empty() ? "" : " ") + one.status.name;
  }
  return all;
}

TEST(RootChild, ListsThemInTheirOrderUntilTheyAreDestroyed) {
  auto b = listed("b");
  const auto a = listed("a");
  EXPECT_EQ(names(), "b a");
  b.reset();
  EXPECT_EQ(names(), "a");
}

TEST(RootChild, TheFirstOfANameHasItAndOthersHaveANumberBehindIt) {
  auto first = listed("pool");
  const auto second = listed("pool");
  const std::string both = names();
  EXPECT_EQ(both.find("pool pool#"), 0U) << both;
  first.reset();
  EXPECT_EQ(names(), both.substr(5)) << "the name of one that lives does not change";
  const auto third = listed("pool");
  EXPECT_EQ(names(), both.substr(5) + " pool");
}

TEST(RootChild, OneThatHasEndedIsNotShown) {
  const auto a = listed("a");
  const auto b = listed("b");
  a->phase = child_phase::stopped;
  EXPECT_EQ(names(), "b");
}

TEST(RootChild, OneThatBeginsAnewIsTheLastOneThen) {
  const auto a = listed("a");
  const auto b = listed("b");
  list_at_root(a, "a");
  EXPECT_EQ(names(), "b a");
}

TEST(RootChild, TheVersionGrowsWithEveryChangeAndOnlyThen) {
  auto a = listed("a");
  std::uint64_t version = look_at_root().version;
  EXPECT_EQ(look_at_root().version, version);
  const auto grows = [&version] {
    const std::uint64_t before = version;
    version = look_at_root().version;
    return version > before;
  };
  a->phase = child_phase::stopping;
  EXPECT_TRUE(grows());
  EXPECT_FALSE(grows());
  auto b = listed("b");
  EXPECT_TRUE(grows());
  b.reset();
  EXPECT_TRUE(grows());
  a.reset();
  a = listed("a");
  EXPECT_TRUE(grows()) << "it is another one";
}

TEST(RootChild, AForkedProcessSeesNoneOfItsParent) {
  const auto a = listed("a");
  const pid_t child = ::fork();
  if (child == 0) {
    auto own = listed("own");
    ::_exit(names() == "own" ? 0 : 1);
  }
  int status = -1;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
}

TEST(RootChild, LooksWhileOthersAreListedAndDestroyedAreConsistent) {
  constexpr int rounds = 2'000;
  std::atomic<bool> over{false};
  std::vector<std::thread> others;
  for (int i = 0; i < 3; ++i) {
    others.emplace_back([i] {
      for (int round = 0; round < rounds; ++round) {
        const auto first = listed("first " + std::to_string(i));
        const auto second = listed("second " + std::to_string(i));
      }
    });
  }
  std::thread looks{[&over] {
    std::uint64_t version = 0;
    while (!over) {
      const root_picture seen = look_at_root();
      EXPECT_GE(seen.version, version);
      version = seen.version;
      for (int i = 0; i < 3; ++i) {
        bool first = false;
        for (const listed_child& one : seen.children) {
          first = first || one.status.name.starts_with("first " + std::to_string(i));
          EXPECT_TRUE(first || !one.status.name.starts_with("second " + std::to_string(i)))
              << "the first is there whenever the second one is";
        }
      }
    }
  }};
  for (std::thread& one : others) {
    one.join();
  }
  over = true;
  looks.join();
  EXPECT_EQ(names(), "");
}

/// Its last owner lets it go during a look; its destructor looks as well, as one of a pool's user may.
struct looking_child final : root_child {
  looking_child(std::shared_ptr<looking_child>& owner, int& looks) : owner_{owner}, looks_{looks} {}
  ~looking_child() override {
    static_cast<void>(look_at_root());
    ++looks_;
  }
  [[nodiscard]] child_status seen() const override {
    owner_.reset();
    child_status status;
    status.phase = child_phase::stopped;
    return status;
  }

 private:
  std::shared_ptr<looking_child>& owner_;
  int& looks_;
};

TEST(RootChild, OneThatIsDestroyedByALookMayLook) {
  const test::watchdog limit{std::chrono::seconds{60}};
  int looks = 0;
  std::shared_ptr<looking_child> owner;
  owner = std::make_shared<looking_child>(owner, looks);
  list_at_root(owner, "looks");
  EXPECT_EQ(names(), "");
  EXPECT_EQ(looks, 1);
}

}  // namespace
}  // namespace troupe::detail
