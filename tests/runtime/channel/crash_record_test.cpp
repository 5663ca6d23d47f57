// SPDX-License-Identifier: BSD-3-Clause
// What a damaged or hostile worker leaves in its crash record never does more than be wrong.
#include "channel/crash_record.hpp"

#include "channel/crash_layout.hpp"
#include "process/stderr_relay.hpp"
#include "symbols/symbols.hpp"

#include <gtest/gtest.h>

#include <csignal>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <vector>

namespace troupe::test {
namespace {

using detail::crash_layout;
using detail::crash_record_bytes;
using detail::crash_report;
using detail::read_crash_record;

std::unique_ptr<crash_layout> record_of(int signal) {
  auto made = std::make_unique<crash_layout>();
  made->state = crash_layout::whole;
  made->signal = signal;
  return made;
}
std::optional<crash_report> read(const crash_layout& record) {
  return read_crash_record(std::as_bytes(std::span{&record, 1}));
}
void put_text(crash_layout& record, const std::string& text) {
  std::memcpy(record.texts.data() + record.text_bytes, text.c_str(), text.size() + 1);
  record.text_bytes += static_cast<std::uint32_t>(text.size() + 1);
}

TEST(CrashRecord, ZerosAreNone) {
  EXPECT_FALSE(read(*std::make_unique<crash_layout>()));
}

TEST(CrashRecord, AWholeOneIsReadAsItWasWritten) {
  const auto record = record_of(SIGSEGV);
  record->code = SEGV_ACCERR;
  record->address = 0x10;
  record->flags = crash_layout::has_address | crash_layout::at_stack_end;
  put_text(*record, "/bin/one");
  put_text(*record, "/lib/two");
  put_text(*record, "0badc0de");
  record->frame_count = 3;
  record->frames[0] = {7, 9, 18};
  record->frames[1] = {8, 0, crash_layout::no_text};
  record->frames[2] = {9, crash_layout::no_text, crash_layout::no_text};
  const auto report = read(*record);
  ASSERT_TRUE(report);
  EXPECT_TRUE(report->complete);
  EXPECT_EQ(report->details.signal, SIGSEGV);
  EXPECT_EQ(report->details.code, SEGV_ACCERR);
  EXPECT_EQ(report->details.address, 0x10U);
  EXPECT_TRUE(report->details.stack_overflow);
  const std::vector<code_location> expected{{"/lib/two", 7, "0badc0de"}, {"/bin/one", 8}, {"", 9}};
  EXPECT_EQ(report->details.frames, expected);
}

TEST(CrashRecord, OneThatWasNotFinishedSaysSo) {
  const auto record = record_of(SIGABRT);
  record->state = crash_layout::writing;
  const auto report = read(*record);
  ASSERT_TRUE(report);
  EXPECT_FALSE(report->complete);
  EXPECT_FALSE(report->details.address);
}

TEST(CrashRecord, ASignalThatDoesNotExistIsNoRecord) {
  for (const int signal : {0, -1, 1000, INT32_MIN, INT32_MAX}) {
    EXPECT_FALSE(read(*record_of(signal))) << signal;
  }
  const auto record = record_of(SIGSEGV);
  record->state = 77;
  EXPECT_FALSE(read(*record));
}

TEST(CrashRecord, CountsAndPlacesBeyondTheRecordAreCut) {
  const auto record = record_of(SIGSEGV);
  record->frame_count = UINT32_MAX;
  record->text_bytes = UINT32_MAX;
  record->texts.fill('p');  // without an end
  for (std::size_t i = 0; i < record->frames.size(); ++i) {
    record->frames[i].module = static_cast<std::uint32_t>(i * 0x0400'0001U);
  }
  const auto report = read(*record);
  ASSERT_TRUE(report);
  EXPECT_EQ(report->details.frames.size(), crash_layout::max_frames);
  for (const code_location& frame : report->details.frames) {
    EXPECT_EQ(frame.module, "");
  }
}

TEST(CrashRecord, TooFewBytesAreNone) {
  const auto record = record_of(SIGSEGV);
  EXPECT_FALSE(read_crash_record(std::as_bytes(std::span{record.get(), 1}).first(100)));
}

TEST(CrashRecord, AnyBytesAtAllAreSurvivedAndDescribed) {
  std::mt19937 random{4711};  // NOLINT(bugprone-random-generator-seed): the same bytes each time
  std::vector<std::uint32_t> bytes(crash_record_bytes / sizeof(std::uint32_t));
  int read_ones = 0;
  for (int round = 0; round < 2000; ++round) {
    for (auto& word : bytes) {
      word = static_cast<std::uint32_t>(random());
    }
    bytes[0] = static_cast<std::uint32_t>(round % 4);
    bytes[2] = static_cast<std::uint32_t>(round % 80);
    bytes[6] = static_cast<std::uint32_t>(random() % 100);
    if (const auto report = read_crash_record(std::as_bytes(std::span{bytes}))) {
      ++read_ones;
      ASSERT_LE(report->details.frames.size(), crash_layout::max_frames);
      if (round % 100 == 1) {
        static_cast<void>(detail::describe_code(report->details.frames));
      }
    }
  }
  EXPECT_GT(read_ones, 500);
}

TEST(Symbols, WhatIsNoProgramIsSaidAsItIs) {
  const std::vector<code_location> odd{{"", 0x10},
                                       {"/dev/zero", 1},
                                       {"/nowhere/library.so", 2},
                                       {"relative", 3},
                                       {"/etc/passwd", 4}};
  const std::vector<std::string> expected{"0x10", "zero+0x1", "library.so+0x2", "relative+0x3",
                                          "passwd+0x4"};
  EXPECT_EQ(detail::describe_code(odd), expected);
}

TEST(Symbols, NamesOfFunctionsAreDemangledAndTypesAreNotGuessed) {
  EXPECT_EQ(detail::demangled("_Z3addii"), "add(int, int)");
  EXPECT_EQ(detail::demangled("f"), "f");
}

TEST(LastLines, KeepTheEnd) {
  using detail::last_lines;
  EXPECT_EQ(last_lines("", 3, 100), "");
  EXPECT_EQ(last_lines("a\nb\nc\n", 2, 100), "b\nc\n");
  EXPECT_EQ(last_lines("a\nb\nc", 2, 100), "b\nc");
  EXPECT_EQ(last_lines("a\nb\n", 5, 100), "a\nb\n");
  EXPECT_EQ(last_lines("\n\n\n", 2, 100), "\n\n");
  EXPECT_EQ(last_lines("abcdef", 2, 3), "def");
}

}  // namespace
}  // namespace troupe::test
