// SPDX-License-Identifier: BSD-3-Clause
// When the folder of names is looked through after a death, and on which thread.
#include "shared/core/name_cleaner.hpp"

#include "runtime/shared/shared_fixture.hpp"
#include "shared/core/block_names.hpp"
#include "shared/core/name_watch.hpp"
#include "support/unique_name.hpp"

#include <gtest/gtest.h>

#include <fcntl.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <string>

namespace troupe {
namespace {

using namespace std::chrono_literals;
using detail::name_cleaner;
using detail::name_watch;

constexpr name_watch::time noon{std::chrono::hours{12}};

TEST(NameWatch, DoesNotLookWhileTheFolderIsAsItWas) {
  name_watch watch;
  watch.was_without_names(noon, noon + 1h);
  EXPECT_FALSE(watch.must_look(noon));
  EXPECT_TRUE(watch.must_look(noon + 2h));
  EXPECT_TRUE(watch.must_look(noon - 2h)) << "the clock was set back";
}

TEST(NameWatch, LooksAtEveryDeathWhileThereAreNames) {
  name_watch watch;
  watch.was_without_names(noon, noon + 1h);
  watch.had_names();
  EXPECT_TRUE(watch.must_look(noon)) << "their processes may die at any time";
}

TEST(NameWatch, LooksAgainAfterAChangeInTheSameTickOfTheClock) {
  name_watch watch;
  watch.was_without_names(noon, noon + name_watch::tick);
  EXPECT_TRUE(watch.must_look(noon)) << "a later change may have the same time";
}

TEST(NameWatch, LooksWhereNothingIsKnown) {
  EXPECT_TRUE(name_watch{}.must_look(noon));
}

/// A look that lasts until it is let go.
class slow_look {
 public:
  std::size_t operator()() {
    std::unique_lock lock{mutex_};
    ++begun_;
    changed_.notify_all();
    changed_.wait(lock, [&] { return begun_ <= allowed_; });
    return 0;
  }
  void await(int begun) {
    std::unique_lock lock{mutex_};
    changed_.wait(lock, [&] { return begun_ >= begun; });
  }
  void allow(int looks) {
    const std::lock_guard lock{mutex_};
    allowed_ = looks;
    changed_.notify_all();
  }
  int begun() {
    const std::lock_guard lock{mutex_};
    return begun_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  int begun_ = 0;
  int allowed_ = 0;
};

class NameCleaner : public test::shared_objects {
 protected:
  ~NameCleaner() override { ::unlink(file_.c_str()); }
  /// As any program does it.
  void change_folder() {
    ::unlink(file_.c_str());
    ::close(::open(file_.c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
  }
  const std::string file_ =
      std::string{detail::block_folder} + "/" + test::unique_name("name-cleaner");
  slow_look look_;
};

// A folder with 20,000 files of other programs held up the reactor, and all pools, for 1.4 s.
TEST_F(NameCleaner, ADeathDoesNotWaitForTheLook) {
  name_cleaner cleaner{[&] { return look_(); }};
  change_folder();
  cleaner.after_a_death();
  look_.await(1);
  cleaner.after_a_death();  // returns although the look goes on
  EXPECT_EQ(look_.begun(), 1);
  look_.allow(2);
  look_.await(2);  // the second death may have left a name after the first look had passed it
}

TEST_F(NameCleaner, DeathsDuringALookAskForOneMoreTogether) {
  name_cleaner cleaner{[&] { return look_(); }};
  change_folder();
  cleaner.after_a_death();
  look_.await(1);
  for (int i = 0; i < 100; ++i) {
    cleaner.after_a_death();
  }
  look_.allow(2);
  look_.await(2);
  EXPECT_EQ(look_.begun(), 2);
  look_.allow(1000);
}

TEST_F(NameCleaner, ItsEndWaitsForTheLookThatIsUnderWay) {
  std::atomic<bool> ended{false};
  {
    name_cleaner cleaner{[&] {
      const std::size_t names = look_();
      ended = true;
      return names;
    }};
    change_folder();
    cleaner.after_a_death();
    look_.await(1);
    look_.allow(1);
  }
  EXPECT_TRUE(ended);
}

}  // namespace
}  // namespace troupe
