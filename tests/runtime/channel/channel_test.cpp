// SPDX-License-Identifier: BSD-3-Clause
// Both ends of a channel in one process: the rings, the doorbell, the claim word, and a hostile
// worker.
#include "channel/channel.hpp"

#include "troupe/error.hpp"

#include "channel/segment.hpp"
#include "os/descriptor_attachment.hpp"
#include "support/fails_with.hpp"
#include "support/no_descriptors.hpp"
#include "support/watchdog.hpp"

#include <gtest/gtest.h>

#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <exception>
#include <memory>
#include <random>
#include <span>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace troupe::detail {
namespace {

using namespace std::chrono_literals;
using test::fails_with;
using test::no_descriptors;

std::span<const std::byte> bytes_of(const std::string& text) {
  return std::as_bytes(std::span{text});
}
std::string text_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

class Channel : public testing::Test {
 protected:
  Channel() {
    channel_ends ends = supervisor_.take_worker_ends();
    memory_ = descriptor{::fcntl(ends.memory.number(), F_DUPFD_CLOEXEC, 3)};
    hostile_ = descriptor{::fcntl(ends.socket.number(), F_DUPFD_CLOEXEC, 3)};
    worker_ = std::make_unique<worker_channel>(std::move(ends));
  }

  bool send(const std::string& text, std::uint64_t number) {
    std::byte* const room = supervisor_.begin_frame(text.size());
    if (room == nullptr) {
      return false;
    }
    std::memcpy(room, text.data(), text.size());
    supervisor_.publish({static_cast<std::uint32_t>(text.size()), frame_kind::tasks, 0, number});
    return true;
  }
  bool answer(const std::string& text, std::uint64_t number) {
    return worker_->push(frame_kind::result, 0, number, {}, bytes_of(text));
  }
  /// All frames the worker has, as numbers and payloads.
  std::vector<std::pair<std::uint64_t, std::string>> received(std::size_t most = 1 << 20) {
    std::string raw;
    worker_->take_frames(raw, most);
    std::vector<std::pair<std::uint64_t, std::string>> found;
    for (std::size_t at = 0; at < raw.size();) {
      frame_header header;
      std::memcpy(&header, raw.data() + at, sizeof header);
      found.emplace_back(header.number, raw.substr(at + sizeof header, header.bytes));
      at += sizeof header + (header.bytes + 7) / 8 * 8;
    }
    return found;
  }
  /// Sleeps as the reactor does until the worker's end says something.
  void sleep_until_rung() {
    pollfd wait{supervisor_.socket(), POLLIN, 0};
    ASSERT_GT(::poll(&wait, 1, -1), 0);
    supervisor_.read_socket();
  }
  void write_to_socket(const std::string& text) {
    ASSERT_EQ(::send(hostile_.number(), text.data(), text.size(), MSG_NOSIGNAL),
              static_cast<ssize_t>(text.size()));
  }

  test::watchdog watchdog_{100s, "a channel"};
  supervisor_channel supervisor_;
  descriptor memory_;
  descriptor hostile_;
  std::unique_ptr<worker_channel> worker_;
};

TEST_F(Channel, FramesArriveWholeAndInOrderBothWays) {
  const std::vector<std::string> texts{"",         "a",         "1234567",
                                       "12345678", "123456789", std::string(max_frame_bytes, 'x')};
  for (std::uint64_t i = 0; i < texts.size(); ++i) {
    ASSERT_TRUE(send(texts[i], i));
  }
  const auto got = received();
  ASSERT_EQ(got.size(), texts.size());
  for (std::uint64_t i = 0; i < texts.size(); ++i) {
    EXPECT_EQ(got[i].first, i);
    EXPECT_EQ(got[i].second, texts[i]);
    ASSERT_TRUE(answer(texts[i], 100 + i));
  }
  frame_header header;
  std::span<const std::byte> payload;
  for (std::uint64_t i = 0; i < texts.size(); ++i) {
    ASSERT_TRUE(supervisor_.next_frame(header, payload));
    EXPECT_EQ(header.number, 100 + i);
    EXPECT_EQ(text_of(payload), texts[i]);
  }
  EXPECT_FALSE(supervisor_.next_frame(header, payload));
  EXPECT_EQ(supervisor_.state(), channel_state::open);
}

TEST_F(Channel, AFrameIsInvisibleUntilItIsPublished) {
  ASSERT_NE(supervisor_.begin_frame(8), nullptr);
  EXPECT_TRUE(received().empty());
  ASSERT_TRUE(send("again", 1));
  EXPECT_EQ(received().size(), 1U);
}

TEST_F(Channel, AFullRingTakesNothingAndEverythingAgainOnceRead) {
  for (int round = 0; round < 10; ++round) {
    std::uint64_t sent = 0;
    while (send(std::string(1000, static_cast<char>('a' + round)), sent)) {
      ++sent;
    }
    EXPECT_GE(sent, ring_bytes / 1024 - 1);
    EXPECT_EQ(received().size(), sent);
  }
  EXPECT_EQ(supervisor_.begin_frame(max_frame_bytes + 1), nullptr) << "no frame is larger";
}

TEST_F(Channel, TheWorkerTakesWholeFramesUpToALimit) {
  for (std::uint64_t i = 0; i < 10; ++i) {
    ASSERT_TRUE(send(std::string(1000, 'x'), i));
  }
  std::uint64_t expected = 0;
  while (expected < 10) {
    const auto some = received(2500);
    ASSERT_FALSE(some.empty());
    ASSERT_LE(some.size(), 3U);
    for (const auto& [number, text] : some) {
      EXPECT_EQ(number, expected++);
      EXPECT_EQ(text.size(), 1000U);
    }
  }
  ASSERT_TRUE(send(std::string(5000, 'x'), 0));
  EXPECT_EQ(received(100).size(), 1U) << "one that is larger than the limit comes alone";
}

TEST_F(Channel, RandomSizesWrapAroundManyTimes) {
  std::mt19937 random{7};
  std::uint64_t next = 0;
  std::uint64_t expected = 0;
  for (int round = 0; round < 3000; ++round) {
    while (send(std::string(random() % 3000, static_cast<char>(next)), next)) {
      ++next;
      if (random() % 4 == 0) {
        break;
      }
    }
    for (const auto& [number, text] : received(random() % 20'000)) {
      ASSERT_EQ(number, expected);
      ASSERT_EQ(text.find_first_not_of(static_cast<char>(expected)), std::string::npos);
      ++expected;
    }
  }
  EXPECT_GT(expected, 3000U);
}

TEST_F(Channel, ALargeFrameStaysInTheRingUntilTheWorkerHasDoneWithIt) {
  const std::string large(40'000, 'x');
  ASSERT_TRUE(send(large, 1));
  ASSERT_TRUE(send("small", 2));
  ASSERT_TRUE(send("small", 3));
  ASSERT_TRUE(send(large, 4));
  ASSERT_TRUE(send(large, 5));
  ASSERT_FALSE(send(large, 6)) << "the ring is full";
  const auto first = worker_->next_frames();
  ASSERT_EQ(first.size(), sizeof(frame_header) + large.size());
  EXPECT_EQ(text_of(first.subspan(sizeof(frame_header))), large);
  EXPECT_FALSE(send(large, 6)) << "it is being read";
  worker_->finish_frames();
  EXPECT_TRUE(send(large, 6));
  EXPECT_EQ(worker_->next_frames().size(), 2 * (sizeof(frame_header) + 8)) << "small ones together";
  worker_->finish_frames();
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(worker_->next_frames().size(), sizeof(frame_header) + large.size());
    worker_->finish_frames();
  }
  EXPECT_TRUE(worker_->next_frames().empty());
}

// A lost wake-up is a hang, which the watchdog tells about.
TEST_F(Channel, TheDoorbellLosesNoWakeUpOverAMillionFrames) {
  constexpr std::uint64_t frames = 1'000'000;
  std::jthread worker{[&] {
    std::uint64_t expected = 0;
    std::string raw;
    while (expected < frames) {
      raw.clear();
      if (worker_->take_frames(raw, 64 * 1024) == 0) {
        worker_->ring_bell();
        ASSERT_TRUE(worker_->wait_for_frames());
        continue;
      }
      for (std::size_t at = 0; at < raw.size(); at += sizeof(frame_header) + 8) {
        frame_header header;
        std::memcpy(&header, raw.data() + at, sizeof header);
        ASSERT_EQ(header.number, expected);
        ++expected;
        ASSERT_TRUE(worker_->push(frame_kind::result, 0, header.number, {}, {}));
        if (header.number % 3 == 0) {
          worker_->ring_bell();
        }
      }
    }
    worker_->ring_bell();
  }};
  std::uint64_t sent = 0;
  std::uint64_t answered = 0;
  while (answered < frames) {
    while (sent < frames && sent - answered < 2000 && send("12345678", sent)) {
      if (++sent % 7 == 0) {
        supervisor_.ring_bell();
      }
    }
    supervisor_.ring_bell();
    frame_header header;
    std::span<const std::byte> payload;
    while (supervisor_.next_frame(header, payload)) {
      ASSERT_EQ(header.number, answered);
      ++answered;
    }
    supervisor_.finish_reading();
    // With nothing under way there is no reader to wake.
    if (answered < sent && supervisor_.arm()) {
      sleep_until_rung();
    }
  }
  EXPECT_EQ(supervisor_.state(), channel_state::open) << supervisor_.what_broke();
}

TEST_F(Channel, OnePingAtATimeLosesNoWakeUpEither) {
  constexpr std::uint64_t pings = 100'000;
  std::jthread worker{[&] {
    std::string raw;
    for (std::uint64_t i = 0; i < pings; ++i) {
      raw.clear();
      while (worker_->take_frames(raw, 64 * 1024) == 0) {
        ASSERT_TRUE(worker_->wait_for_frames());
      }
      ASSERT_TRUE(worker_->push(frame_kind::result, 0, i, {}, {}));
      worker_->ring_bell();
    }
  }};
  for (std::uint64_t i = 0; i < pings; ++i) {
    ASSERT_TRUE(send("", i));
    supervisor_.ring_bell();
    frame_header header;
    std::span<const std::byte> payload;
    while (!supervisor_.next_frame(header, payload)) {
      if (supervisor_.arm()) {
        sleep_until_rung();
      }
    }
    ASSERT_EQ(header.number, i);
    supervisor_.finish_reading();
  }
}

TEST_F(Channel, AWorkerWithAFullResultRingWaitsUntilItIsRead) {
  constexpr std::uint64_t frames = 2000;
  const std::string text(2000, 'r');
  std::jthread worker{[&] {
    for (std::uint64_t i = 0; i < frames; ++i) {
      ASSERT_TRUE(answer(text, i));
    }
    worker_->ring_bell();
  }};
  std::uint64_t expected = 0;
  while (expected < frames) {
    frame_header header;
    std::span<const std::byte> payload;
    while (supervisor_.next_frame(header, payload)) {
      ASSERT_EQ(header.number, expected++);
      ASSERT_EQ(payload.size(), text.size());
    }
    supervisor_.finish_reading();
    if (expected < frames && supervisor_.arm()) {
      sleep_until_rung();
    }
  }
}

// ---- claiming and taking back -------------------------------------------------------------------

TEST_F(Channel, AClaimedTaskIsNeverRevokedAndARevokedOneNeverClaimed) {
  EXPECT_TRUE(worker_->claim(0));
  EXPECT_TRUE(worker_->claim(1));
  EXPECT_FALSE(worker_->claim(1)) << "twice";
  EXPECT_EQ(supervisor_.undecided(), 2U);
  EXPECT_EQ(supervisor_.revoke(5), 2U) << "2, 3 and 4 are taken back";
  for (std::uint64_t number = 0; number < 5; ++number) {
    EXPECT_FALSE(worker_->claim(number));
  }
  EXPECT_TRUE(worker_->claim(5));
  EXPECT_EQ(supervisor_.revoke(6), 6U) << "there is nothing to take back";
  EXPECT_EQ(supervisor_.revoke(3), 3U) << "long decided";
}

TEST_F(Channel, ClaimAndRevokeRaceWithOneWinnerForEachTask) {
  constexpr std::uint64_t rounds = 50'000;
  constexpr std::uint64_t batch = 8;
  std::vector<std::uint8_t> claimed(rounds * batch, 0);
  std::vector<std::uint8_t> revoked(rounds * batch, 0);
  std::atomic<std::uint64_t> published{0};
  std::atomic<std::uint64_t> looked_at{0};
  std::jthread worker{[&] {
    for (std::uint64_t number = 0; number < rounds * batch; ++number) {
      while (published.load() <= number) {
        std::this_thread::yield();
      }
      claimed[number] = worker_->claim(number) ? 1 : 0;
      looked_at = number + 1;
    }
  }};
  std::mt19937 random{11};
  for (std::uint64_t round = 0; round < rounds; ++round) {
    const std::uint64_t end = (round + 1) * batch;
    published = end;
    const std::uint64_t spin = random() % 200;
    for (std::uint64_t i = 0; i < spin && looked_at.load() < end; ++i) {
    }
    for (std::uint64_t number = supervisor_.revoke(end); number < end; ++number) {
      revoked[number] = 1;
    }
  }
  worker.join();
  std::uint64_t both = 0;
  std::uint64_t none = 0;
  for (std::size_t i = 0; i < claimed.size(); ++i) {
    both += claimed[i] != 0 && revoked[i] != 0 ? 1 : 0;
    none += claimed[i] == 0 && revoked[i] == 0 ? 1 : 0;
  }
  EXPECT_EQ(both, 0U) << "a task had two owners";
  EXPECT_EQ(none, 0U) << "a task had no owner";
}

TEST_F(Channel, AStopRequestNamesItsTaskAndMovesTheWord) {
  const std::uint32_t before = worker_->stop_word().load();
  supervisor_.request_stop(41);
  EXPECT_NE(worker_->stop_word().load(), before);
  EXPECT_EQ(worker_->stop_requested_for(), 41U);
}

// ---- the socket ---------------------------------------------------------------------------------

TEST_F(Channel, TheHelloArrivesOnce) {
  worker_->send_hello("this is me");
  supervisor_.read_socket();
  EXPECT_EQ(supervisor_.take_hello(), "this is me");
  EXPECT_EQ(supervisor_.take_hello(), "");
  EXPECT_EQ(supervisor_.state(), channel_state::open);
}

TEST_F(Channel, EndOfFileClosesEitherEnd) {
  hostile_.reset();
  worker_.reset();
  supervisor_.read_socket();
  EXPECT_EQ(supervisor_.state(), channel_state::closed);
}

TEST_F(Channel, FramesPublishedBeforeTheEndAreStillRead) {
  ASSERT_TRUE(answer("last words", 1));
  hostile_.reset();
  worker_.reset();
  supervisor_.read_socket();
  frame_header header;
  std::span<const std::byte> payload;
  ASSERT_TRUE(supervisor_.next_frame(header, payload));
  EXPECT_EQ(text_of(payload), "last words");
}

TEST(ChannelEnds, AWorkerNoticesThatItsSupervisorIsGone) {
  const test::watchdog dog{60s, "a worker without a supervisor"};
  auto supervisor = std::make_unique<supervisor_channel>();
  worker_channel worker{supervisor->take_worker_ends()};
  supervisor.reset();
  EXPECT_FALSE(worker.wait_for_frames());
  bool pushed = true;
  for (int i = 0; i < 1000 && pushed; ++i) {
    pushed = worker.push(frame_kind::result, 0, 1, {}, bytes_of(std::string(1000, 'x')));
  }
  EXPECT_FALSE(pushed);
}

TEST_F(Channel, PayloadsInSegmentsArriveAndTheirSlotTellsWhenTheyWereRead) {
  const segment one{std::size_t{1} << 20};
  std::memset(one.data(), 42, 1 << 20);
  ASSERT_EQ(worker_->send_segment(one.id(), one.reader(), 7), 0);
  worker_->result_slot(3) = 1;
  supervisor_.read_socket();
  {
    const auto payload = supervisor_.open_payload({one.id(), 1 << 20, 3}, 7);
    ASSERT_EQ(payload->bytes().size(), std::size_t{1} << 20);
    EXPECT_EQ(payload->bytes()[12345], std::byte{42});
    EXPECT_EQ(worker_->result_slot(3), 1);
  }
  EXPECT_EQ(worker_->result_slot(3), 0);
  ASSERT_EQ(supervisor_.send_segment(one.id(), one.reader(), 1), 0);
  EXPECT_EQ(worker_->open_payload({one.id(), 1 << 20, 0}, 1)->data()[777], std::byte{42});
}

/// The code of the error that `fn` throws, looked at only where there are descriptors again.
template <class Fn>
std::pair<errc, std::string> error_without_descriptors(Fn fn) {
  std::exception_ptr thrown;
  {
    const no_descriptors none;
    try {
      fn();
    } catch (...) {
      thrown = std::current_exception();
    }
  }
  try {
    if (thrown) {
      std::rethrow_exception(thrown);
    }
  } catch (const error& problem) {
    return {problem.code(), problem.what()};
  }
  return {errc::ok, ""};
}

std::size_t open_descriptors() {
  std::size_t count = 0;
  for (int number = 0; number < 1000; ++number) {
    count += ::fcntl(number, F_GETFD) >= 0 ? 1 : 0;
  }
  return count;
}

attachment_list one_object(std::uint64_t id) {
  return {std::make_shared<descriptor_attachment>(
      id, descriptor{::open("/dev/null", O_RDONLY | O_CLOEXEC)})};
}

TEST_F(Channel, AWorkerWithoutADescriptorLosesThatFrameAndNoOther) {
  const segment one{std::size_t{1} << 20};
  const segment two{std::size_t{1} << 20};
  ASSERT_EQ(supervisor_.send_attachments(1, one_object(5)), 0);
  ASSERT_EQ(supervisor_.send_segment(one.id(), one.reader(), 1), 0);
  ASSERT_EQ(supervisor_.send_segment(one.id(), one.reader(), 2), 0);
  ASSERT_EQ(supervisor_.send_attachments(3, one_object(6)), 0);
  ASSERT_EQ(supervisor_.send_segment(two.id(), two.reader(), 3), 0);
  const auto attachments = error_without_descriptors([&] { worker_->take_attachments(1); });
  EXPECT_EQ(attachments.first, errc::resource_exhausted);
  EXPECT_NE(attachments.second.find("RLIMIT_NOFILE ("), std::string::npos) << attachments.second;
  const auto payload =
      error_without_descriptors([&] { worker_->open_payload({one.id(), 1000, 0}, 1); });
  EXPECT_EQ(payload.first, errc::resource_exhausted) << payload.second;
  EXPECT_NE(worker_->open_payload({one.id(), 1000, 0}, 2), nullptr);
  const attachment_list next = worker_->take_attachments(3);
  ASSERT_EQ(next.size(), 1U);
  EXPECT_EQ(next.front()->id(), 6U);
  EXPECT_NE(worker_->open_payload({two.id(), 1000, 0}, 3), nullptr);
}

TEST_F(Channel, ASupervisorWithoutADescriptorLosesThatResultAndNoOther) {
  const segment one{std::size_t{1} << 20};
  ASSERT_EQ(worker_->send_attachments(1, one_object(5)), 0);
  ASSERT_EQ(worker_->send_segment(one.id(), one.reader(), 2), 0);
  ASSERT_EQ(worker_->send_segment(one.id(), one.reader(), 3), 0);
  worker_->result_slot(2) = 1;
  EXPECT_EQ(error_without_descriptors([&] { supervisor_.take_attachments(1); }).first,
            errc::resource_exhausted);
  EXPECT_EQ(
      error_without_descriptors([&] { supervisor_.open_payload({one.id(), 1000, 2}, 2); }).first,
      errc::resource_exhausted);
  EXPECT_EQ(worker_->result_slot(2), 0) << "no result refers to it: the worker may use it again";
  EXPECT_EQ(supervisor_.state(), channel_state::open) << supervisor_.what_broke();
  EXPECT_NE(supervisor_.open_payload({one.id(), 1000, 3}, 3), nullptr);
}

TEST_F(Channel, WhatCameForFramesThatWereTakenBackGoesWithThem) {
  const segment one{std::size_t{1} << 20};
  const auto before = open_descriptors();
  for (std::uint64_t number = 1; number <= 50; ++number) {
    ASSERT_EQ(supervisor_.send_attachments(number, one_object(number)), 0);
    ASSERT_EQ(supervisor_.send_segment(one.id(), one.reader(), number), 0);
  }
  worker_->read_bells();
  EXPECT_EQ(open_descriptors(), before + 100);
  worker_->done_before(51);
  EXPECT_EQ(open_descriptors(), before);
  ASSERT_EQ(supervisor_.send_segment(one.id(), one.reader(), 50), 0);
  worker_->read_bells();
  EXPECT_EQ(open_descriptors(), before) << "it came too late";
}

TEST_F(Channel, WhatStillComesForAResultThatIsLostGoes) {
  const segment one{std::size_t{1} << 20};
  const auto before = open_descriptors();
  for (std::uint64_t number = 1; number <= 2 * result_slots; ++number) {
    ASSERT_EQ(worker_->send_segment(one.id(), one.reader(), number), 0);
    ASSERT_EQ(worker_->send_attachments(number, one_object(5)), 0);
    supervisor_.abandon(number);
    supervisor_.read_socket();
  }
  EXPECT_EQ(open_descriptors(), before);
  EXPECT_EQ(supervisor_.state(), channel_state::open) << supervisor_.what_broke();
  ASSERT_EQ(worker_->send_attachments(1, one_object(5)), 0);
  EXPECT_EQ(supervisor_.take_attachments(1).size(), 1U) << "of what comes later nothing is dropped";
}

// The supervisor has to hold only what the next result needs, not what all of them do.
TEST_F(Channel, DescriptorsOfLaterResultsWaitInTheSocket) {
  const segment one{std::size_t{1} << 20};
  const auto before = open_descriptors();
  for (std::uint64_t number = 1; number <= 50; ++number) {
    ASSERT_EQ(worker_->send_segment(one.id(), one.reader(), number), 0);
    ASSERT_TRUE(answer("result", number));
  }
  frame_header header;
  std::span<const std::byte> payload;
  for (std::uint64_t number = 1; number <= 50; ++number) {
    EXPECT_FALSE(supervisor_.read_socket()) << "there is more";
    ASSERT_TRUE(supervisor_.next_frame(header, payload));
    EXPECT_LE(open_descriptors(), before + 1);
    EXPECT_NE(supervisor_.open_payload({one.id(), 1000, result_slots}, number), nullptr);
    supervisor_.done_with(number);
  }
  EXPECT_TRUE(supervisor_.read_socket());
  EXPECT_EQ(open_descriptors(), before);
}

TEST_F(Channel, ADescriptorThatCannotBeSentSaysWhy) {
  const attachment_list closed{std::make_shared<descriptor_attachment>(5, descriptor{})};
  EXPECT_EQ(supervisor_.send_attachments(1, closed), EBADF);
  EXPECT_EQ(worker_->send_attachments(1, closed), EBADF);
  hostile_.reset();
  worker_.reset();
  EXPECT_EQ(supervisor_.send_attachments(1, one_object(5)), 0) << "sent, and never read";
}

TEST_F(Channel, AReferenceToNothingIsRefused) {
  const segment one{std::size_t{1} << 20};
  ASSERT_EQ(worker_->send_segment(one.id(), one.reader(), 7), 0);
  supervisor_.read_socket();
  const auto refused = [&](segment_reference where) {
    return fails_with(errc::protocol_error, [&] { return supervisor_.open_payload(where, 7); });
  };
  EXPECT_TRUE(refused({one.id() + 1'000'000, 100, 0})) << "never handed over";
  EXPECT_TRUE(refused({one.id(), 100, result_slots + 1})) << "no such slot";
  EXPECT_TRUE(refused({one.id(), std::uint64_t{1} << 40, 0})) << "longer than the segment";
}

TEST_F(Channel, GarbageOnTheSocketBreaksItAndNothingElse) {
  for (const std::size_t size : {1U, 2U, 16U, 100U, 255U, 256U, 257U, 4096U, 60'000U}) {
    for (const char first : {'S', 'H', '?', '\0', '!'}) {
      if (first == '!' && size == 1) {
        continue;  // that is a doorbell
      }
      SCOPED_TRACE(std::to_string(size) + " bytes that begin with " + std::to_string(first));
      supervisor_channel attacked;
      channel_ends ends = attacked.take_worker_ends();
      std::string garbage(size, 'g');
      garbage[0] = first;
      ASSERT_EQ(::send(ends.socket.number(), garbage.data(), size, MSG_NOSIGNAL),
                static_cast<ssize_t>(size));
      attacked.read_socket();
      if (first == 'H' && size <= 256) {
        EXPECT_EQ(attacked.take_hello().size(), size - 1) << "a hello: its reader checks it";
      } else {
        EXPECT_EQ(attacked.state(), channel_state::broken);
        EXPECT_FALSE(attacked.what_broke().empty());
      }
    }
  }
}

TEST_F(Channel, AFloodOfBellsIsReadAway) {
  for (int i = 0; i < 10'000; ++i) {
    if (::send(hostile_.number(), "!", 1, MSG_NOSIGNAL | MSG_DONTWAIT) != 1) {
      break;
    }
  }
  supervisor_.read_socket();
  EXPECT_EQ(supervisor_.state(), channel_state::open);
}

// ---- hostile indices ----------------------------------------------------------------------------

// The worker's side writes any 64-bit word of the control page, one after the other.
class HostileWord : public Channel, public testing::WithParamInterface<std::uint64_t> {
 protected:
  HostileWord() {
    page_ = mapping{static_cast<std::byte*>(::mmap(nullptr, 4096, PROT_READ | PROT_WRITE,
                                                   MAP_SHARED, memory_.number(), 0)),
                    4096};
  }
  mapping page_;
};

TEST_P(HostileWord, NeverMakesTheSupervisorReadOrWriteOutside) {
  for (std::size_t at = 0; at + 8 <= 1024; at += 8) {
    SCOPED_TRACE("word at " + std::to_string(at));
    supervisor_channel attacked;
    const channel_ends ends = attacked.take_worker_ends();
    auto* const page = static_cast<std::byte*>(
        ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, ends.memory.number(), 0));
    ASSERT_NE(page, MAP_FAILED);
    const mapping unmapped_later{page, 4096};
    const std::uint64_t value = GetParam();
    std::memcpy(page + at, &value, sizeof value);
    frame_header header;
    std::span<const std::byte> payload;
    for (int i = 0; i < 100'000 && attacked.next_frame(header, payload); ++i) {
      ASSERT_LE(payload.size(), max_frame_bytes);
      if (!payload.empty()) {
        static_cast<void>(
            static_cast<volatile const std::byte*>(payload.data())[payload.size() - 1]);
      }
    }
    attacked.finish_reading();
    static_cast<void>(attacked.arm());
    std::byte* const room = attacked.begin_frame(max_frame_bytes);
    if (room != nullptr) {
      std::memset(room, 1, max_frame_bytes);
      attacked.publish({max_frame_bytes, frame_kind::tasks, 0, 0});
    }
    attacked.ring_bell();
    EXPECT_LE(attacked.revoke(100), 100U);
    attacked.request_stop(1);
    attacked.read_socket();
  }
}
INSTANTIATE_TEST_SUITE_P(Values, HostileWord,
                         testing::Values(1, 8, 15, 16, 24, 4096, ring_bytes - 8, ring_bytes,
                                         ring_bytes + 1, ring_bytes + 16, 1ULL << 31, 1ULL << 32,
                                         1ULL << 63, ~0ULL, ~0ULL - 15));

TEST_F(Channel, AFrameThatSaysItIsLongerThanWhatWasWrittenBreaksIt) {
  for (const std::uint32_t lie :
       {9U, 100U, 48U * 1024U + 1U, 128U * 1024U, 0x7fffffffU, 0xffffffffU, 0xfffffff8U}) {
    SCOPED_TRACE(lie);
    supervisor_channel attacked;
    channel_ends ends = attacked.take_worker_ends();
    auto* const all =
        static_cast<std::byte*>(::mmap(nullptr, 8192 + 2 * ring_bytes, PROT_READ | PROT_WRITE,
                                       MAP_SHARED, ends.memory.number(), 0));
    ASSERT_NE(all, MAP_FAILED);
    const mapping unmapped_later{all, 8192 + 2 * ring_bytes};
    worker_channel worker{std::move(ends)};
    ASSERT_TRUE(worker.push(frame_kind::result, 0, 1, {}, bytes_of("12345678")));
    std::memcpy(all + 8192 + ring_bytes, &lie, sizeof lie);
    frame_header header;
    std::span<const std::byte> payload;
    EXPECT_FALSE(attacked.next_frame(header, payload));
    EXPECT_EQ(attacked.state(), channel_state::broken);
    EXPECT_FALSE(attacked.next_frame(header, payload));
  }
}

}  // namespace
}  // namespace troupe::detail
