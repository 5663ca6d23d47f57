// SPDX-License-Identifier: BSD-3-Clause
#include "troupe/detail/region.hpp"

#include "troupe/array.hpp"
#include "troupe/barrier.hpp"
#include "troupe/condition.hpp"
#include "troupe/error.hpp"
#include "troupe/event.hpp"
#include "troupe/mutex.hpp"
#include "troupe/queue.hpp"
#include "troupe/semaphore.hpp"
#include "troupe/value.hpp"

#include "os/failpoint.hpp"
#include "os/process_identity.hpp"
#include "runtime/shared/crossing_handles.hpp"
#include "runtime/shared/shared_fixture.hpp"
#include "shared/core/transaction.hpp"
#include "support/fails_with.hpp"

#include <gtest/gtest.h>

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

namespace troupe {
namespace {

using detail::region;
using test::crossed;
using test::fails_with;
using test::forked;
using test::pack;
using test::parcel;
using test::signpost;
using test::unpack;

class SharedObjects : public test::shared_objects {};

/// One descriptor through a socket, as messages carry it.
void send_descriptor(int socket, std::uint64_t id, int number) {
  iovec part{&id, sizeof id};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control{};
  msghdr header{};
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  header.msg_control = control.data();
  header.msg_controllen = control.size();
  cmsghdr* c = CMSG_FIRSTHDR(&header);
  c->cmsg_level = SOL_SOCKET;
  c->cmsg_type = SCM_RIGHTS;
  c->cmsg_len = CMSG_LEN(sizeof number);
  std::memcpy(CMSG_DATA(c), &number, sizeof number);
  ASSERT_EQ(::sendmsg(socket, &header, 0), static_cast<ssize_t>(sizeof id));
}

parcel receive_descriptor(int socket) {
  std::uint64_t id = 0;
  iovec part{&id, sizeof id};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control{};
  msghdr header{};
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  header.msg_control = control.data();
  header.msg_controllen = control.size();
  parcel made;
  if (::recvmsg(socket, &header, MSG_CMSG_CLOEXEC) == static_cast<ssize_t>(sizeof id)) {
    int number = -1;
    std::memcpy(&number, CMSG_DATA(CMSG_FIRSTHDR(&header)), sizeof number);
    made.bytes.resize(sizeof id);
    std::memcpy(made.bytes.data(), &id, sizeof id);
    made.attachments.push_back(
        std::make_shared<test::arrived_attachment>(id, detail::descriptor{number}));
  }
  return made;
}

TEST_F(SharedObjects, ArriveAsTheSameObjectWhereTheyAreAlready) {
  const value<int> one{7};
  const value<int> same = crossed(one);
  EXPECT_EQ(same, one);
  EXPECT_EQ(same.id(), one.id());
  EXPECT_EQ(info_of(one.id()).holders, 1U);
}

#if defined(TROUPE_FAILPOINTS) && TROUPE_FAILPOINTS

// Each object looked into /proc for each process that had it: 0.8 s with 2,000 objects of 4 workers.
TEST_F(SharedObjects, ADeathDoesNotLookAtTheLivingOnceForEachObject) {
  std::vector<semaphore> objects;
  for (int i = 0; i < 20; ++i) {
    objects.emplace_back(10);
  }
  signpost have_them;
  const auto holder = [&]() -> int {
    for (semaphore& one : objects) {
      one.acquire();
    }
    have_them.reached();
    return test::sleep_until_killed();
  };
  forked victim{holder};
  forked survivor{holder};
  forked other{holder};
  for (int i = 0; i < 3; ++i) {
    have_them.await();
  }
  victim.kill();
  detail::failpoint::arm("identity.look", detail::failpoint::action::none);
  detail::recover_objects_of_dead(static_cast<std::uint32_t>(victim.pid()));
  EXPECT_LE(detail::failpoint::hits("identity.look"), 1U);
  for (semaphore& one : objects) {
    EXPECT_EQ(one.value(), 8) << "what the dead one held is back";
  }
}

// A session for another machine is to an object what a process is, and ends with its process.
TEST_F(SharedObjects, ADeathGivesBackWhatThreadsOfTheDeadProcessHeld) {
  semaphore object{10};
  detail::attachment_list attachments;
  detail::byte_buffer buffer;
  {
    const detail::attachment_collector scope{attachments};
    output_archive ar{buffer};
    ar(object);
  }
  const auto memory =
      std::const_pointer_cast<region>(std::dynamic_pointer_cast<const region>(attachments.front()));
  signpost has_it;
  forked victim{[&]() -> int {
    std::thread session{[&] {
      memory->claim_slot_for(detail::identity_of_this_thread())->counters[0] = 3;
      has_it.reached();
      test::sleep_until_killed();
    }};
    session.join();
    return 0;
  }};
  has_it.await();
  EXPECT_EQ(victim.kill(), 1000 + SIGKILL);
  detail::recover_objects_of_dead(static_cast<std::uint32_t>(victim.pid()));
  EXPECT_EQ(object.value(), 13);
}

#endif

TEST_F(SharedObjects, ArriveInAProcessThatIsOlderThanThey) {
  std::array<int, 2> sockets{};
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets.data()), 0);
  const detail::descriptor here{sockets[0]};
  const detail::descriptor there{sockets[1]};
  signpost arrived;
  signpost go_on;
  forked child{[&] {
    auto number = unpack<value<int>>(receive_descriptor(there.number()));
    number.fetch_add(1);
    arrived.reached();
    go_on.await();
    return number.load();
  }};
  value<int> number{41};
  const parcel packed = pack(number);
  send_descriptor(here.number(), number.id(), packed.attachments.front()->number());
  arrived.await();
  EXPECT_EQ(number.load(), 42);
  EXPECT_EQ(info_of(number.id()).holders, 2U);
  number.store(99);
  go_on.reached();
  EXPECT_EQ(child.wait(), 99);
  EXPECT_EQ(info_of(number.id()).holders, 1U) << "the child is dead, its slot does not count";
}

TEST_F(SharedObjects, AreListedWithWhatTheyAre) {
  const semaphore permits{3, {.name = "permits"}};
  const object_info found = info_of(permits.id());
  EXPECT_EQ(found.kind, object_kind::semaphore);
  EXPECT_EQ(to_string(found.kind), "semaphore");
  EXPECT_EQ(found.name, "permits");
  EXPECT_GT(found.bytes, 0U);
  EXPECT_EQ(found.creator_pid, ::getpid());
  EXPECT_EQ(found.holders, 1U);
  EXPECT_EQ(found.waiters, 0U);
}

TEST_F(SharedObjects, AreGoneFromTheListWithTheLastHandle) {
  std::uint64_t id = 0;
  {
    const mutex one;
    const mutex copy = one;
    id = one.id();
    EXPECT_EQ(info_of(id).id, id);
  }
  EXPECT_EQ(info_of(id).id, 0U);
}

TEST_F(SharedObjects, CountAForkedChildThatUsesThem) {
  event begun;
  event end;
  forked child{[&] {
    begun.set();
    end.wait();
    return 0;
  }};
  begun.wait();
  EXPECT_TRUE(test::eventually([&] { return info_of(end.id()).holders == 2; }));
  EXPECT_TRUE(test::eventually([&] { return info_of(end.id()).waiters == 1; }));
  child.kill_without_reaping();
  EXPECT_EQ(info_of(end.id()).holders, 1U) << "a zombie holds nothing";
  EXPECT_EQ(info_of(end.id()).waiters, 0U);
}

TEST_F(SharedObjects, HaveRoomForNewProcessesWhenOldOnesDied) {
  semaphore permits{1};
  for (std::size_t i = 0; i < detail::region_slots + 20; ++i) {
    forked child{[&] {
      permits.acquire();
      permits.release();
      return 0;
    }};
    ASSERT_EQ(child.wait(), 0) << i;
  }
  EXPECT_EQ(permits.value(), 1);
}

TEST_F(SharedObjects, NamesAreCutAndMayHoldAnything) {
  const event one{{.name = std::string(1000, 'x')}};
  EXPECT_EQ(one.name(), std::string(255, 'x'));
  const event other{{.name = std::string("a\0b", 3)}};
  EXPECT_EQ(other.name(), "a");
}

TEST_F(SharedObjects, AMovedFromHandleSaysSo) {
  mutex one;
  const mutex other = std::move(one);
  EXPECT_TRUE(fails_with(errc::no_state, [&] {
    one.lock();  // NOLINT(bugprone-use-after-move): what it does is the question
    return 0;
  }));
  one = other;
  EXPECT_TRUE(one.try_lock());
  one.unlock();
}

TEST_F(SharedObjects, AMovedFromHandleOfAnyKindSaysSo) {
  const auto says_so = [](auto handle, auto operation) {
    const auto taken = std::move(handle);
    // NOLINTNEXTLINE(bugprone-use-after-move): what it does is the question
    return fails_with(errc::no_state, [&] { return operation(handle), 0; });
  };
  EXPECT_TRUE(says_so(mutex{}, [](auto& one) { one.unlock(); }));
  EXPECT_TRUE(says_so(mutex{}, [](auto& one) { static_cast<void>(one.try_lock()); }));
  EXPECT_TRUE(says_so(mutex{}, [](auto& one) { static_cast<void>(one.id()); }));
  EXPECT_TRUE(says_so(recursive_mutex{}, [](auto& one) { one.lock(); }));
  EXPECT_TRUE(says_so(semaphore{}, [](auto& one) { one.acquire(); }));
  EXPECT_TRUE(says_so(event{}, [](auto& one) { one.set(); }));
  EXPECT_TRUE(says_so(condition{}, [](auto& one) { one.notify_all(); }));
  EXPECT_TRUE(says_so(barrier{}, [](auto& one) { one.abort(); }));
  EXPECT_TRUE(says_so(value<int>{}, [](auto& one) { one.fetch_add(1); }));
  EXPECT_TRUE(says_so(value<int>{}, [](auto& one) { static_cast<void>(one.lock()); }));
  EXPECT_TRUE(says_so(value<std::array<int, 9>>{}, [](auto& one) { one.store({}); }));
  EXPECT_TRUE(says_so(array<int>{}, [](auto& one) { static_cast<void>(one.size()); }));
  EXPECT_TRUE(says_so(queue<int>{}, [](auto& one) { one.put(1); }));
  mutex with;
  with.lock();
  EXPECT_TRUE(says_so(condition{}, [&](auto& one) { one.wait(with); }));
  with.unlock();
}

TEST_F(SharedObjects, AnyOperationMayBeTheFirstOfOneMadeInDecoding) {
  const auto first = [](auto kind, auto operation) {
    const detail::attachment_list none;
    const detail::attachment_source decoding{none};
    decltype(kind) made;
    return operation(made);
  };
  EXPECT_FALSE(first(mutex{}, [](auto& one) { return one.inherited(); }));
  EXPECT_TRUE(first(mutex{}, [](auto& one) { return one.try_lock() && (one.unlock(), true); }));
  EXPECT_TRUE(first(mutex{}, [](auto& one) { return one.lock(), one.unlock(), true; }));
  EXPECT_THROW(first(mutex{}, [](auto& one) { return one.unlock(), 0; }), std::system_error);
  EXPECT_TRUE(first(recursive_mutex{}, [](auto& one) {
    return one.try_lock() && one.try_lock() && (one.unlock(), one.unlock(), true);
  }));
  EXPECT_EQ(first(semaphore{}, [](auto& one) { return one.value(); }), 1);
  EXPECT_FALSE(first(event{}, [](auto& one) { return one.is_set(); }));
  EXPECT_EQ(first(condition{}, [](auto& one) { return one.waiting(); }), 0U);
  EXPECT_EQ(first(barrier{}, [](auto& one) { return one.arrive_and_wait(); }), 0U);
  EXPECT_EQ(first(array<int>{}, [](auto& one) { return one.lock().size(); }), 0U);
  EXPECT_EQ(first(queue<int>{}, [](auto& one) { return one.put(7), one.get(); }), 7);
}

// What a wait needs of its mutex is memory, also if both were made in decoding.
TEST_F(SharedObjects, AConditionMadeInDecodingRefusesAMutexThatIsNotLocked) {
  const detail::attachment_list none;
  const detail::attachment_source decoding{none};
  condition made;
  mutex with;
  EXPECT_THROW(made.wait(with), std::system_error);
}

TEST_F(SharedObjects, DecodingMakesNoMemoryForHandlesThatAreReplaced) {
  const std::vector<mutex> many{mutex{}, mutex{}};
  const parcel packed = pack(many);
  detail::failpoint::arm("memory.create", detail::failpoint::action::give_errno, 1, 1000, EMFILE);
  const auto arrived = unpack<std::vector<mutex>>(packed);
  EXPECT_EQ(arrived, many);
  EXPECT_EQ(detail::failpoint::hits("memory.create"), 0U);
}

struct with_a_lock_of_its_own {
  int number = 0;
  mutex own;
  template <class Archive>
  void serialize(Archive& ar) {
    ar(number);
  }
};

TEST_F(SharedObjects, AHandleThatDecodingDidNotReplaceIsAnObjectOfItsOwn) {
  with_a_lock_of_its_own one;
  one.number = 5;
  auto arrived = crossed(one);
  EXPECT_EQ(arrived.number, 5);
  const mutex copy = arrived.own;  // before its first use
  arrived.own.lock();
  mutex same = copy;
  EXPECT_FALSE(same.try_lock()) << "the copy is another lock";
  arrived.own.unlock();
  EXPECT_NE(arrived.own, one.own);
}

TEST_F(SharedObjects, CannotBePlainBytes) {
  detail::byte_buffer buffer;
  output_archive ar{buffer};
  const mutex one;
  EXPECT_TRUE(fails_with(errc::argument_encode_failed, [&] {
    ar(one);
    return 0;
  }));
}

// ---- what is refused

class HostileHandles : public SharedObjects {
 protected:
  /// The bytes of a handle of `id`, with this descriptor.
  static parcel with_descriptor(std::uint64_t id, int number) {
    parcel made;
    made.bytes.resize(sizeof id);
    std::memcpy(made.bytes.data(), &id, sizeof id);
    made.attachments.push_back(
        std::make_shared<test::arrived_attachment>(id, detail::descriptor{number}));
    return made;
  }
  /// A sealed copy of a value<int>'s memory, for changing.
  struct copy {
    std::uint64_t id = 0;
    std::vector<std::byte> bytes;
    detail::region_header& header() {
      return *reinterpret_cast<detail::region_header*>(bytes.data());
    }
    parcel send(int seals = F_SEAL_SHRINK | F_SEAL_GROW) {
      const int number = ::memfd_create("hostile", MFD_CLOEXEC | MFD_ALLOW_SEALING);
      EXPECT_EQ(::write(number, bytes.data(), bytes.size()), static_cast<ssize_t>(bytes.size()));
      EXPECT_EQ(::fcntl(number, F_ADD_SEALS, seals), 0);
      return with_descriptor(id, number);
    }
  };
  static copy copy_of_a_value() {
    const value<int> real{5};
    const parcel packed = pack(real);
    copy made;
    made.id = detail::new_attachment_id();
    made.bytes.resize(region::payload_offset() + sizeof(int));
    EXPECT_EQ(
        ::pread(packed.attachments.front()->number(), made.bytes.data(), made.bytes.size(), 0),
        static_cast<ssize_t>(made.bytes.size()));
    made.header().id = made.id;
    return made;
  }
  static testing::AssertionResult refused(const parcel& packed) {
    return fails_with(errc::protocol_error, [&] { return unpack<value<int>>(packed); });
  }
};

TEST_F(HostileHandles, AFaithfulCopyIsTaken) {
  EXPECT_EQ(unpack<value<int>>(copy_of_a_value().send()).load(), 5);
}

TEST_F(HostileHandles, MemoryThatCanShrinkIsRefused) {
  EXPECT_TRUE(refused(copy_of_a_value().send(F_SEAL_GROW)));
}

TEST_F(HostileHandles, AnotherBeginIsRefused) {
  copy made = copy_of_a_value();
  made.header().magic ^= 1;
  EXPECT_TRUE(refused(made.send()));
}

TEST_F(HostileHandles, AnotherVersionIsRefused) {
  copy made = copy_of_a_value();
  made.header().version += 1;
  EXPECT_TRUE(refused(made.send()));
}

TEST_F(HostileHandles, AnotherLayoutIsRefused) {
  for (auto field : {&detail::region_header::slot_count, &detail::region_header::slots_offset,
                     &detail::region_header::payload_offset}) {
    copy made = copy_of_a_value();
    made.header().*field = 0xFFFF'FFFF;
    EXPECT_TRUE(refused(made.send()));
  }
}

TEST_F(HostileHandles, AnotherKindIsRefused) {
  copy made = copy_of_a_value();
  made.header().kind = object_kind::mutex;
  EXPECT_TRUE(refused(made.send()));
  const mutex lock;
  EXPECT_TRUE(refused(pack(lock))) << "also of an object that is here already";
}

TEST_F(HostileHandles, AnotherElementTypeIsRefused) {
  const value<float> other{1.0F};
  EXPECT_TRUE(refused(pack(other)));
  copy made = copy_of_a_value();
  made.header().type_tag ^= 1;
  EXPECT_TRUE(refused(made.send()));
}

TEST_F(HostileHandles, AnotherIdIsRefused) {
  copy made = copy_of_a_value();
  made.header().id ^= 1;
  EXPECT_TRUE(refused(made.send()));
}

TEST_F(HostileHandles, SizesThatAreNotTrueAreRefused) {
  for (auto field : {&detail::region_header::total_bytes, &detail::region_header::payload_bytes}) {
    copy made = copy_of_a_value();
    made.header().*field = ~std::uint64_t{0};
    EXPECT_TRUE(refused(made.send()));
  }
  copy empty = copy_of_a_value();
  empty.header().payload_bytes = 0;
  EXPECT_TRUE(refused(empty.send())) << "too short for its element";
  copy cut = copy_of_a_value();
  cut.bytes.resize(100);
  EXPECT_TRUE(refused(cut.send()));
}

TEST_F(HostileHandles, DescriptorsOfOtherThingsAreRefused) {
  EXPECT_TRUE(refused(with_descriptor(1, ::open("/dev/null", O_RDWR | O_CLOEXEC))));
  std::array<int, 2> pipe{};
  ASSERT_EQ(::pipe2(pipe.data(), O_CLOEXEC), 0);
  const detail::descriptor writer{pipe[1]};
  EXPECT_TRUE(refused(with_descriptor(2, pipe[0])));
}

TEST_F(HostileHandles, AnUndoLogThatPointsElsewhereIsNotFollowed) {
  const semaphore real{5};
  const parcel packed = pack(real);
  copy made;
  made.id = detail::new_attachment_id();
  made.bytes.resize(region::payload_offset() + 64);
  const ssize_t got =
      ::pread(packed.attachments.front()->number(), made.bytes.data(), made.bytes.size(), 0);
  made.bytes.resize(static_cast<std::size_t>(got));
  made.header().id = made.id;
  made.header().total_bytes = made.bytes.size();
  made.header().undo_size = 0xFFFF'FFFF;
  for (detail::undo_entry& entry : made.header().undo) {
    entry.offset = 0xFFFF'FFFF'FFFF'FFF0;
    entry.value = 1;
  }
  auto arrived = unpack<semaphore>(made.send());
  EXPECT_TRUE(arrived.try_acquire());
  EXPECT_EQ(arrived.value(), 4);
}

// ---- when there is no more of something

TEST_F(SharedObjects, FullMemoryIsAnErrorAtCreation) {
  detail::failpoint::arm("memory.allocate", detail::failpoint::action::give_errno, 1, 1, ENOSPC);
  EXPECT_TRUE(fails_with(errc::resource_exhausted, [] { return value<int>{1}; }));
}

TEST_F(SharedObjects, NoMoreDescriptorsIsAnErrorAtCreation) {
  detail::failpoint::arm("memory.create", detail::failpoint::action::give_errno, 1, 1, EMFILE);
  EXPECT_TRUE(fails_with(errc::resource_exhausted, [] { return mutex{}; }));
}

TEST_F(SharedObjects, NoMoreDescriptorsIsAnErrorOnArrival) {
  parcel packed;
  std::uint64_t id = 0;
  {
    const value<int> one{3};
    packed = pack(one);
    id = one.id();
  }
  detail::failpoint::arm("region.import", detail::failpoint::action::give_errno, 1, 1, EMFILE);
  EXPECT_TRUE(fails_with(errc::resource_exhausted, [&] { return unpack<value<int>>(packed); }));
  EXPECT_EQ(unpack<value<int>>(packed).load(), 3);
  EXPECT_EQ(info_of(id).id, 0U);
}

}  // namespace
}  // namespace troupe
