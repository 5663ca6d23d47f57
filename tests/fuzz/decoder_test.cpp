// SPDX-License-Identifier: BSD-3-Clause
// The fuzz target without a fuzzer: a bounded number of mutations of honest inputs. To repeat a
// run, set TROUPE_FUZZ_SEED to the seed that was printed; TROUPE_FUZZ_ROUNDS makes it longer.
#include "decoder.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <iostream>
#include <random>
#include <string>

namespace {

unsigned long number_from(const char* variable, unsigned long otherwise) {
  const char* const text = std::getenv(variable);
  return text == nullptr ? otherwise : std::strtoul(text, nullptr, 10);
}

void mutate(std::vector<std::byte>& bytes, std::mt19937& random) {
  const auto somewhere = [&] { return static_cast<std::ptrdiff_t>(random() % bytes.size()); };
  switch (random() % 6) {
    case 0:
      bytes[static_cast<std::size_t>(somewhere())] = static_cast<std::byte>(random());
      break;
    case 1:
      bytes[static_cast<std::size_t>(somewhere())] ^= static_cast<std::byte>(1U << random() % 8);
      break;
    case 2:
      bytes.resize(1 + static_cast<std::size_t>(somewhere()));
      break;
    case 3:
      bytes.insert(bytes.begin() + somewhere(), random() % 16, static_cast<std::byte>(random()));
      break;
    case 4: {
      // An extreme length where a length may be.
      constexpr std::uint64_t extremes[] = {0,     1,           0xffff,     1U << 29U,
                                            ~0ULL, 1ULL << 60U, 1ULL << 63U};
      const std::uint64_t value = extremes[random() % std::size(extremes)];
      const auto at = static_cast<std::size_t>(somewhere());
      for (std::size_t i = 0; i < 8 && at + i < bytes.size(); ++i) {
        bytes[at + i] = static_cast<std::byte>(value >> (8 * i) & 0xffU);
      }
      break;
    }
    default: {
      const std::vector<std::byte> copy = bytes;
      const auto from = somewhere();
      bytes.insert(bytes.begin() + somewhere(), copy.begin() + from,
                   copy.begin() + std::min<std::ptrdiff_t>(from + 16, std::ssize(copy)));
      break;
    }
  }
}

void feed(const std::vector<std::byte>& bytes) {
  LLVMFuzzerTestOneInput(reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size());
}

TEST(Decoder, SurvivesHonestInputs) {
  for (const auto& bytes : decoder_seeds()) {
    feed(bytes);
  }
}

TEST(Decoder, SurvivesMutations) {
  const auto seed = static_cast<std::mt19937::result_type>(
      number_from("TROUPE_FUZZ_SEED", std::random_device{}()));
  // Printed before, because the failure that is looked for ends the process.
  std::cout << "TROUPE_FUZZ_SEED=" << seed << '\n' << std::flush;
  std::mt19937 random{seed};
  const auto seeds = decoder_seeds();
  for (unsigned long round = number_from("TROUPE_FUZZ_ROUNDS", 30'000); round > 0; --round) {
    auto bytes = seeds[random() % seeds.size()];
    for (auto count = 1 + random() % 5; count > 0; --count) {
      mutate(bytes, random);
    }
    feed(bytes);
  }
}

}  // namespace
