// SPDX-License-Identifier: BSD-3-Clause
#include "troupe/shared_memory.hpp"

#include "troupe/error.hpp"

#include "runtime/shared/crossing_handles.hpp"
#include "runtime/shared/shared_fixture.hpp"
#include "support/fails_with.hpp"
#include "support/unique_name.hpp"

#include <gtest/gtest.h>

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <memory>
#include <stdexcept>
#include <string>
#include <system_error>
#include <vector>

namespace troupe {
namespace {

using test::crossed;
using test::fails_with;
using test::forked;
using test::pack;
using test::parcel;
using test::signpost;
using test::unpack;

class SharedMemory : public test::shared_objects {
 protected:
  /// A name that no other test and no other run has.
  static std::string unique(const std::string& name) { return test::unique_name(name); }
  static bool exists(const std::string& name) {
    return ::access(("/dev/shm/" + name).c_str(), F_OK) == 0;
  }
  template <class Call>
  static testing::AssertionResult fails_as(std::errc code, Call call) {
    try {
      static_cast<void>(call());
    } catch (const std::system_error& thrown) {
      return thrown.code() == code ? testing::AssertionSuccess()
                                   : testing::AssertionFailure() << "threw " << thrown.what();
    }
    return testing::AssertionFailure() << "threw nothing";
  }
};

TEST_F(SharedMemory, IsZerosThatAllOwnersWrite) {
  const shared_memory memory{10'000};
  EXPECT_EQ(memory.size(), 10'000U);
  EXPECT_TRUE(std::ranges::all_of(memory.bytes(), [](std::byte b) { return b == std::byte{0}; }));
  const shared_memory arrived = crossed(memory);
  arrived.bytes()[5] = std::byte{42};
  EXPECT_EQ(memory.bytes()[5], std::byte{42});
  forked child{[&] {
    memory.bytes()[6] = std::byte{43};
    return 0;
  }};
  EXPECT_EQ(child.wait(), 0);
  EXPECT_EQ(memory.bytes()[6], std::byte{43});
  EXPECT_EQ(shared_memory{}.size(), 0U);
}

TEST_F(SharedMemory, RefusesNegativeSizes) {
  EXPECT_THROW(shared_memory{-1}, std::invalid_argument);
}

TEST_F(SharedMemory, AViewReadsWhatOwnersWriteAndCannotBeMappedForWriting) {
  auto memory = std::make_unique<shared_memory>(100);
  const shared_memory_view view{*memory};
  const shared_memory_view arrived = crossed(view);
  const parcel packed = pack(view);
  EXPECT_EQ(::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED,
                   packed.attachments.front()->number(), 0),
            MAP_FAILED);
  memory->bytes()[99] = std::byte{7};
  memory.reset();
  EXPECT_EQ(view.size(), 100U);
  EXPECT_EQ(view.bytes()[99], std::byte{7}) << "a view keeps the memory";
  EXPECT_EQ(arrived.bytes()[99], std::byte{7});
  EXPECT_EQ(shared_memory_view{}.size(), 0U);
  EXPECT_EQ(crossed(shared_memory_view{}).size(), 0U);
}

TEST_F(SharedMemory, AnOwnersHandleIsNotAViewsAndTheOtherWayRound) {
  const shared_memory memory{10};
  const shared_memory_view view{memory};
  parcel forged = pack(memory);
  forged.bytes.insert(forged.bytes.begin(), std::byte{1});
  EXPECT_TRUE(fails_with(errc::protocol_error, [&] { return unpack<shared_memory_view>(forged); }));
  forged = pack(view);
  forged.bytes.erase(forged.bytes.begin());
  EXPECT_ANY_THROW(static_cast<void>(unpack<shared_memory>(forged)));
}

TEST_F(SharedMemory, WithANameIsFoundByOthersUntilItsLastOwnerIsGone) {
  const std::string name = unique("found");
  {
    const shared_memory memory{100, {.name = name}};
    EXPECT_EQ(memory.name(), name);
    signpost opened;
    signpost go_on;
    forked other{[&] {
      const shared_memory found = shared_memory::open(name);
      found.bytes()[0] = std::byte{9};
      opened.reached();
      go_on.await();
      return 0;
    }};
    opened.await();
    EXPECT_EQ(memory.bytes()[0], std::byte{9});
    const shared_memory again = shared_memory::open(name);
    EXPECT_EQ(again, memory);
    go_on.reached();
    EXPECT_EQ(other.wait(), 0);
    EXPECT_TRUE(exists(name));
  }
  EXPECT_FALSE(exists(name));
}

TEST_F(SharedMemory, ANameStaysWithTheOwnersThatAreLeft) {
  const std::string name = unique("left");
  signpost made;
  signpost go_on;
  forked creator{[&] {
    auto memory = std::make_unique<shared_memory>(10, shared_memory_options{.name = name});
    made.reached();
    go_on.await();
    memory.reset();
    return exists(name) ? 0 : 1;
  }};
  made.await();
  auto mine = std::make_unique<shared_memory>(shared_memory::open(name));
  go_on.reached();
  EXPECT_EQ(creator.wait(), 0) << "another process still had it";
  mine.reset();
  EXPECT_FALSE(exists(name));
}

TEST_F(SharedMemory, ANameOfADeadCreatorGoesWithTheNextOwner) {
  const std::string name = unique("dead");
  signpost made;
  forked creator{[&] {
    const shared_memory memory{10, {.name = name}};
    made.reached();
    return test::sleep_until_killed();
  }};
  made.await();
  {
    // While it lives: the guardian of any program would remove the name after that.
    const shared_memory found = shared_memory::open(name);
    EXPECT_EQ(creator.kill(), 1000 + SIGKILL);
    EXPECT_EQ(found.size(), 10U);
    EXPECT_TRUE(exists(name));
  }
  EXPECT_FALSE(exists(name));
}

TEST_F(SharedMemory, ANameThatIsTakenIsAnErrorAndStays) {
  const std::string name = unique("taken");
  const shared_memory memory{10, {.name = name}};
  EXPECT_TRUE(fails_as(std::errc::file_exists, [&] { return shared_memory{20, {.name = name}}; }));
  EXPECT_EQ(shared_memory::open(name).size(), 10U);
}

TEST_F(SharedMemory, ANameThatDoesNotExistIsAnError) {
  EXPECT_TRUE(fails_as(std::errc::no_such_file_or_directory,
                       [&] { return shared_memory::open(unique("missing")); }));
}

TEST_F(SharedMemory, BadNamesAreRefused) {
  for (const std::string& name : {std::string{"a/b"}, std::string{"/a"}, std::string{"a\0b", 3},
                                  std::string(255, 'x'), std::string{".."}, std::string{"."}}) {
    EXPECT_THROW((shared_memory{10, {.name = name}}), std::invalid_argument) << name;
    EXPECT_THROW(static_cast<void>(shared_memory::open(name)), std::invalid_argument) << name;
  }
  EXPECT_THROW(static_cast<void>(shared_memory::open("")), std::invalid_argument);
}

TEST_F(SharedMemory, SomethingElseWithThatNameIsRefused) {
  const std::string name = unique("else");
  const detail::descriptor other{
      ::shm_open(("/" + name).c_str(), O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0600)};
  ASSERT_TRUE(other);
  EXPECT_TRUE(fails_with(errc::protocol_error, [&] { return shared_memory::open(name); }));
  ASSERT_EQ(::ftruncate(other.number(), 100'000), 0);
  EXPECT_TRUE(fails_with(errc::protocol_error, [&] { return shared_memory::open(name); }));
  EXPECT_TRUE(exists(name)) << "it is not ours to remove";
  ::shm_unlink(("/" + name).c_str());
}

TEST_F(SharedMemory, ANameThatGotNoMemoryIsNotLeftBehind) {
  const std::string name = unique("full");
  detail::failpoint::arm("region.create_named", detail::failpoint::action::give_errno, 1, 1,
                         ENOSPC);
  EXPECT_TRUE(
      fails_with(errc::resource_exhausted, [&] { return shared_memory{10, {.name = name}}; }));
  EXPECT_FALSE(exists(name));
}

TEST_F(SharedMemory, AMakerThatIsKilledHalfWayLeavesNoName) {
  const std::string name = unique("half");
  detail::failpoint::arm("region.create_named", detail::failpoint::action::kill);
  forked maker{[&] {
    const shared_memory memory{10, {.name = name}};
    return 0;
  }};
  EXPECT_EQ(maker.wait(), 1000 + SIGKILL);
  EXPECT_FALSE(exists(name)) << "no process could tell its owner";
  detail::failpoint::reset();
}

TEST_F(SharedMemory, ANameGoesWithItsLastOwnerWhichNeedNotBeItsMaker) {
  const std::string name = unique("last");
  auto mine = std::make_unique<shared_memory>(10, shared_memory_options{.name = name});
  signpost opened;
  forked other{[&] {
    const shared_memory found = shared_memory::open(name);
    opened.reached();
    return test::sleep_until_killed();
  }};
  opened.await();
  mine.reset();
  detail::remove_abandoned_blocks();
  EXPECT_TRUE(exists(name)) << "another owner has it";
  EXPECT_EQ(other.kill(), 1000 + SIGKILL);
  detail::remove_abandoned_blocks();
  EXPECT_FALSE(exists(name)) << "its creator lives, and has dropped it";
}

TEST_F(SharedMemory, ANamedOneCrosses) {
  const std::string name = unique("crosses");
  parcel packed;
  {
    const shared_memory memory{10, {.name = name}};
    packed = pack(memory);
    EXPECT_EQ(crossed(memory), memory);
  }
  EXPECT_FALSE(exists(name)) << "a message on its way is no owner";
  EXPECT_EQ(unpack<shared_memory>(packed).size(), 10U) << "the memory is there nevertheless";
}

}  // namespace
}  // namespace troupe
