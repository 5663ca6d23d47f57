// SPDX-License-Identifier: BSD-3-Clause
// What cannot work from another machine is told; what comes from there may be anything.
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

#include "link_double.hpp"
#include "remote_fixture.hpp"
#include "shared/remote/exported_object.hpp"
#include "support/fails_with.hpp"

#include <gtest/gtest.h>

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <random>
#include <string>
#include <thread>
#include <tuple>
#include <typeinfo>
#include <utility>
#include <vector>

namespace troupe {
namespace {

using namespace std::chrono_literals;
using test::eventually;
using test::fails_with;
using test::link_double;

class RemoteLimits : public test::remote_objects {};

// ---- what cannot work --------------------------------------------------------------------------

TEST_F(RemoteLimits, WhatNeedsCommonMemoryIsRefusedWhenItIsSent) {
  const auto refused = [&](const auto& handle, const char* cure) {
    try {
      static_cast<void>(link->to_importer(handle));
    } catch (const error& why) {
      return why.code() == errc::argument_encode_failed && why.ran() == task_ran::no &&
             std::string{why.what()}.find(cure) != std::string::npos;
    }
    return false;
  };
  EXPECT_TRUE(refused(raw_value<int>{1}, "troupe::value"));
  EXPECT_TRUE(refused(raw_array<int>{2}, "troupe::array"));
  EXPECT_TRUE(refused(shared_memory{8}, "troupe::array"));
  EXPECT_TRUE(refused(shared_memory_view{shared_memory{8}}, "a view of shared memory"));
  auto [reader, writer] = pipe();
  EXPECT_TRUE(refused(reader, "queue"));
}

TEST_F(RemoteLimits, AHandleGoesBackToItsOwnExporterOnly) {
  link_double second;
  const value<int> exporter;
  const value<int> remote = link->to_importer(exporter);
  EXPECT_TRUE(link->bring_back(remote) == exporter);
  EXPECT_TRUE(fails_with(errc::argument_encode_failed, [&] { return second.bring_back(remote); }));
  EXPECT_TRUE(fails_with(errc::argument_encode_failed, [&] { return second.to_importer(remote); }));
  EXPECT_TRUE(fails_with(errc::argument_encode_failed, [&] { return link->bring_back(exporter); }));
  queue<value<int>> local;
  EXPECT_TRUE(fails_with(errc::argument_encode_failed, [&] { return local.put(remote), 0; }));
  queue<value<int>> remote_queue = link->to_importer(local);
  EXPECT_TRUE(
      fails_with(errc::argument_encode_failed, [&] { return remote_queue.put(exporter), 0; }));
  EXPECT_TRUE(local.empty());
}

TEST_F(RemoteLimits, ReferencesIntoMemoryAreForItsMachine) {
  const array<int> remote = link->to_importer(array<int>{1, 2});
  EXPECT_TRUE(fails_with(errc::not_on_this_machine, [&] { return remote[0]; }));
  EXPECT_TRUE(fails_with(errc::not_on_this_machine, [&] { return remote.at(0); }));
}

TEST_F(RemoteLimits, AConditionAndItsMutexAreOfOneMachine) {
  mutex exporter;
  mutex remote = link->to_importer(exporter);
  condition here;
  condition there = link->to_importer(condition{});
  exporter.lock();
  EXPECT_TRUE(fails_with(errc::not_on_this_machine, [&] { return there.wait(exporter), 0; }));
  exporter.unlock();
  remote.lock();
  EXPECT_TRUE(fails_with(errc::not_on_this_machine, [&] { return here.wait(remote), 0; }));
  link_double second;
  condition elsewhere = second.to_importer(here);
  EXPECT_TRUE(fails_with(errc::not_on_this_machine, [&] { return elsewhere.wait(remote), 0; }));
  remote.unlock();
}

TEST_F(RemoteLimits, AnItemThatCannotLeaveIsLostAndDone) {
  queue<std::vector<raw_value<int>>> exporter;
  auto remote = link->to_importer(exporter);
  exporter.put({raw_value<int>{1}});
  exporter.put({});
  EXPECT_TRUE(fails_with(errc::argument_encode_failed, [&] { return remote.get(); }));
  EXPECT_TRUE(remote.get().empty());
  remote.task_done();
  EXPECT_TRUE(exporter.join_for(0s));
}

// ---- hostile bytes -----------------------------------------------------------------------------

class HostileRemote : public test::remote_objects {
 protected:
  /// As the next message of the session.
  void inject(std::vector<std::byte> message) {
    if (message.size() >= 9) {
      std::memcpy(message.data() + 1, &++number_, sizeof number_);
    }
    link->inject(message);
  }
  /// A request of a thread of its own.
  static std::vector<std::byte> request(std::uint64_t thread, std::uint64_t object,
                                        std::uint16_t what,
                                        const std::vector<std::byte>& arguments = {}) {
    detail::byte_buffer bytes;
    output_archive{bytes}(std::uint8_t{1}, std::uint64_t{0}, thread, object, what);
    bytes.append(arguments.data(), arguments.size());
    return {bytes.bytes().begin(), bytes.bytes().end()};
  }
  [[nodiscard]] bool was_refused() {
    const auto answer = link->last(link_double::to_remote);
    return answer.size() > 9 && answer[8] == std::byte{1};
  }

 private:
  std::uint64_t number_ = std::uint64_t{1} << 40;
};

TEST_F(HostileRemote, TruncatedMessagesAreRefused) {
  value<long> exporter{5};
  value<long> remote = link->to_importer(exporter);
  queue<int> items;
  queue<int> remote_items = link->to_importer(items);
  remote.store(6);
  std::vector<std::vector<std::byte>> good{link->last(link_double::to_exporter)};
  remote_items.put(1);
  good.push_back(link->last(link_double::to_exporter));
  for (const auto& message : good) {
    for (std::size_t length = 0; length < message.size(); ++length) {
      const std::size_t before = link->sent(link_double::to_remote);
      inject({message.begin(), message.begin() + static_cast<std::ptrdiff_t>(length)});
      ASSERT_TRUE(eventually([&] { return link->sent(link_double::to_remote) > before; }))
          << length;
      ASSERT_TRUE(was_refused()) << length;
    }
  }
  EXPECT_EQ(exporter.load(), 6);
  EXPECT_EQ(items.size(), 1U);
}

TEST_F(HostileRemote, UnknownObjectsAndOperationsAreRefused) {
  const event exporter;
  const event remote = link->to_importer(exporter);
  const event not_exported;
  for (const auto& message : {request(1, 12345, 10), request(1, not_exported.id(), 10),
                              request(1, exporter.id(), 0), request(1, exporter.id(), 999),
                              request(1, exporter.id(), 1), request(1, exporter.id(), 27)}) {
    const std::size_t before = link->sent(link_double::to_remote);
    inject(message);
    ASSERT_TRUE(eventually([&] { return link->sent(link_double::to_remote) > before; }));
    EXPECT_TRUE(was_refused());
  }
  EXPECT_FALSE(exporter.is_set());
  EXPECT_FALSE(not_exported.is_set());
  EXPECT_TRUE(fails_with(errc::protocol_error, [&] {
    const std::vector<std::uint64_t> ids{not_exported.id()};
    const auto bytes = encode(ids);
    return link->exporter().unpack(bytes).size();
  }));
}

TEST_F(HostileRemote, AnItemThatIsNoneDoesNotBreakAPriorityQueue) {
  priority_queue<std::string> exporter;
  const auto remote = link->to_importer(exporter);
  detail::byte_buffer item;
  // For ever; one item of three bytes, which is no string; no handles.
  output_archive{item}(std::int64_t{-1}, std::uint64_t{1}, std::uint64_t{3}, std::uint16_t{7},
                       std::uint8_t{7}, std::uint64_t{0});
  inject(request(1, exporter.id(), 27, {item.bytes().begin(), item.bytes().end()}));
  ASSERT_TRUE(eventually([&] { return link->sent(link_double::to_remote) == 1; }));
  EXPECT_TRUE(was_refused());
  exporter.put("a string");
  EXPECT_EQ(exporter.get(), "a string");
}

TEST_F(HostileRemote, NoiseHarmsNothing) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::minstd_rand random{seed};
  const std::tuple<mutex, recursive_mutex, semaphore, event, condition, barrier, value<int>,
                   array<int>, queue<int>, priority_queue<int>>
      all{{}, {}, {}, {}, {}, barrier{2}, {}, array<int>{3}, {}, {}};
  const auto imported = link->to_importer(all);
  const auto ids =
      std::apply([](const auto&... one) { return std::vector<std::uint64_t>{one.id()...}; }, all);
  for (int i = 0; i < 3000; ++i) {
    std::vector<std::byte> arguments(random() % 40);
    for (std::byte& one : arguments) {
      // Mostly small numbers and ends of words, or nothing would pass for arguments.
      one = random() % 3 == 0 ? static_cast<std::byte>(random() % 256) : std::byte{0};
    }
    inject(request(random() % 20, ids[random() % ids.size()],
                   static_cast<std::uint16_t>(random() % 40), arguments));
    if (random() % 8 == 0) {
      std::vector<std::byte> noise(random() % 60);
      for (std::byte& one : noise) {
        one = static_cast<std::byte>(random() % 4);
      }
      inject(noise);
    }
  }
  link->cut();
  // Whatever the session did, it holds nothing any more.
  auto objects = all;
  std::get<0>(objects).lock();
  std::get<0>(objects).unlock();
  std::get<1>(objects).lock();
  std::get<1>(objects).unlock();
  EXPECT_GE(std::get<2>(objects).value(), 1);
  EXPECT_EQ(std::get<4>(objects).waiting(), 0U);
  EXPECT_EQ(std::get<5>(objects).waiting(), 0U);
  static_cast<void>(std::get<6>(objects).lock());
  static_cast<void>(std::get<7>(objects).lock());
  for (const std::uint64_t id : ids) {
    EXPECT_EQ(info_of(id).holders, 1U);
    EXPECT_EQ(info_of(id).waiters, 0U);
  }
}

// ---- a hostile exporter ------------------------------------------------------------------------

struct large {
  std::array<std::uint64_t, 16> words{};
  bool operator==(const large&) const = default;
};

class HostileExporter : public test::remote_objects {
 protected:
  /// The handle of an object as an exporter might describe it.
  template <class Handle>
  Handle imported(const detail::exported_object& described) {
    detail::byte_buffer names;
    output_archive ar{names};
    ar.write_size(1);
    ar(described);
    const auto arrived = link->remote().unpack(names.bytes());
    const detail::attachment_source scope{arrived};
    return decode<Handle>(encode(described.id));
  }
  template <class T>
  static detail::exported_object a_value(std::uint64_t payload_bytes) {
    return {.id = ++last_id_,
            .kind = static_cast<std::uint32_t>(object_kind::value),
            .type_tag = detail::value_spec<value<T>, T>().type_tag,
            .payload_bytes = payload_bytes,
            .name = {}};
  }
  static detail::exported_object an_object(object_kind kind, std::uint64_t payload_bytes) {
    return {.id = ++last_id_,
            .kind = static_cast<std::uint32_t>(kind),
            .type_tag = 0,
            .payload_bytes = payload_bytes,
            .name = {}};
  }
  /// What `operation` makes of an answer of this status and these bytes.
  template <class Operation>
  void answered(std::uint8_t status, const std::vector<std::byte>& result, Operation operation) {
    link->hold(link_double::to_exporter);
    const std::size_t before = link->sent(link_double::to_exporter);
    std::jthread asks{operation};
    ASSERT_TRUE(eventually([&] { return link->sent(link_double::to_exporter) > before; }));
    const auto request = link->last(link_double::to_exporter);
    std::vector<std::byte> answer(request.begin() + 1, request.begin() + 9);
    answer.push_back(static_cast<std::byte>(status));
    answer.insert(answer.end(), result.begin(), result.end());
    link->remote().receive(answer);
  }

 private:
  static inline std::uint64_t last_id_ = std::uint64_t{1} << 50;
};

// Its bytes would have been written behind the variable that load() returns.
TEST_F(HostileExporter, AValueThatIsLargerThanItsTypeIsRefused) {
  EXPECT_TRUE(fails_with(errc::protocol_error, [&] {
    return imported<value<large>>(a_value<large>(sizeof(large) + 1));
  }));
  EXPECT_TRUE(fails_with(errc::protocol_error, [&] {
    return imported<value<large>>(a_value<large>(sizeof(large) - 1));
  }));
  EXPECT_TRUE(
      fails_with(errc::protocol_error, [&] { return imported<value<int>>(a_value<int>(8)); }));
  auto exact = imported<value<large>>(a_value<large>(sizeof(large)));
  EXPECT_TRUE(fails_with(errc::protocol_error, [&] { return exact.load(); }))
      << "the exporter has no object of that id";
}

TEST_F(HostileExporter, AnObjectOfAnotherKindOrTypeIsRefused) {
  EXPECT_TRUE(fails_with(errc::protocol_error, [&] { return imported<mutex>(a_value<int>(4)); }));
  EXPECT_TRUE(fails_with(errc::protocol_error,
                         [&] { return imported<value<float>>(a_value<int>(sizeof(int))); }));
  EXPECT_TRUE(fails_with(errc::protocol_error, [&] {
    return imported<value<int>>(an_object(object_kind::queue, 4096));
  }));
  EXPECT_TRUE(fails_with(errc::protocol_error,
                         [&] { return imported<queue<int>>(an_object(object_kind::mutex, 0)); }));
}

TEST_F(HostileExporter, MemoryThatNoMachineExportsCannotBeReached) {
  const auto memory = imported<shared_memory>(an_object(object_kind::shared_memory, 64));
  EXPECT_TRUE(fails_with(errc::not_on_this_machine, [&] { return memory.bytes(); }));
  EXPECT_TRUE(fails_with(errc::not_on_this_machine, [&] { return memory.size(); }));
  auto described = a_value<int>(sizeof(int));
  described.type_tag = detail::value_spec<raw_value<int>, int>().type_tag;
  const auto raw = imported<raw_value<int>>(described);
  EXPECT_TRUE(fails_with(errc::not_on_this_machine, [&] { return *raw; }));
}

TEST_F(HostileExporter, AnArrayLargerThanAllMemoryIsNotLocked) {
  auto described = an_object(object_kind::array, std::uint64_t{1} << 45);
  described.type_tag = detail::type_tag_of(typeid(array<char>), sizeof(char));
  auto elements = imported<array<char>>(described);
  EXPECT_EQ(elements.size(), std::size_t{1} << 45);
  EXPECT_TRUE(fails_with(errc::resource_exhausted, [&] { return elements.lock(); }));
  EXPECT_EQ(link->sent(link_double::to_exporter), 0U) << "nothing was locked";
}

TEST_F(HostileExporter, AnAnswerOfTheWrongSizeIsRefused) {
  value<large> remote = link->to_importer(value<large>{});
  for (const std::size_t bytes : {std::size_t{0}, sizeof(large) - 1, sizeof(large) + 1}) {
    answered(0, std::vector<std::byte>(bytes), [&] {
      EXPECT_TRUE(fails_with(errc::protocol_error, [&] { return remote.load(); })) << bytes;
    });
  }
  // An answer to a lock has one byte before the value.
  for (const std::size_t bytes : {std::size_t{0}, sizeof(large), sizeof(large) + 2}) {
    answered(0, std::vector<std::byte>(bytes), [&] {
      EXPECT_TRUE(fails_with(errc::protocol_error, [&] { return remote.lock(); })) << bytes;
    });
  }
  const semaphore permits = link->to_importer(semaphore{});
  answered(0, std::vector<std::byte>(7),
           [&] { EXPECT_TRUE(fails_with(errc::protocol_error, [&] { return permits.value(); })); });
}

TEST_F(HostileExporter, AQueueThatSaysItGaveAnItemAndHasNoneIsRefused) {
  queue<int> remote = link->to_importer(queue<int>{});
  // Done, and no items; closed, and one item without bytes and handles; an answer that is none.
  for (const auto& [what, count] : {std::pair{0, 0}, {2, 1}, {3, 0}}) {
    detail::byte_buffer result;
    output_archive ar{result};
    ar(static_cast<std::uint8_t>(what), static_cast<std::uint64_t>(count));
    if (count != 0) {
      ar(std::uint64_t{0}, std::uint64_t{0});
    }
    answered(0, {result.bytes().begin(), result.bytes().end()}, [&] {
      EXPECT_TRUE(fails_with(errc::protocol_error, [&] { return remote.try_get(); })) << what;
    });
  }
}

TEST_F(HostileExporter, ABarrierWithoutAnActionIsNotAskedToAct) {
  barrier remote = link->to_importer(barrier{1});
  answered(2, {}, [&] {
    EXPECT_TRUE(fails_with(errc::protocol_error, [&] { return remote.arrive_and_wait(); }));
  });
}

}  // namespace
}  // namespace troupe
