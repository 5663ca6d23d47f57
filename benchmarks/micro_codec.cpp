// SPDX-License-Identifier: BSD-3-Clause

// Values to bytes and back, in this process.

#include "troupe/codec.hpp"

#include <benchmark/benchmark.h>

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace {

template <class T>
T sample(std::int64_t size);
template <>
int sample<int>(std::int64_t) {
  return 42;
}
template <>
std::string sample<std::string>(std::int64_t size) {
  return std::string(static_cast<std::size_t>(size), 's');
}
template <>
std::vector<double> sample<std::vector<double>>(std::int64_t size) {
  return std::vector<double>(static_cast<std::size_t>(size), 0.5);
}
template <>
std::vector<std::string> sample<std::vector<std::string>>(std::int64_t size) {
  return std::vector<std::string>(static_cast<std::size_t>(size), "sixteen letters.");
}
template <>
std::map<std::string, int> sample<std::map<std::string, int>>(std::int64_t size) {
  std::map<std::string, int> made;
  for (int i = 0; i < size; ++i) {
    made.emplace("key number " + std::to_string(i), i);
  }
  return made;
}

void count_bytes(benchmark::State& state, std::size_t bytes) {
  state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(bytes));
}

template <class T>
void encode(benchmark::State& state) {
  const T value = sample<T>(state.range(0));
  troupe::detail::byte_buffer buffer;
  for (auto _ : state) {
    buffer.clear();
    troupe::encode(buffer, value);
    benchmark::DoNotOptimize(buffer.data());
  }
  count_bytes(state, buffer.size());
}

template <class T>
void decode(benchmark::State& state) {
  const auto bytes = troupe::encode(sample<T>(state.range(0)));
  for (auto _ : state) {
    benchmark::DoNotOptimize(troupe::decode<T>(bytes));
  }
  count_bytes(state, bytes.size());
}

BENCHMARK(encode<int>)->Arg(1);
BENCHMARK(decode<int>)->Arg(1);
BENCHMARK(encode<std::string>)->Arg(16)->Arg(64 << 10)->Arg(16 << 20);
BENCHMARK(decode<std::string>)->Arg(16)->Arg(64 << 10)->Arg(16 << 20);
BENCHMARK(encode<std::vector<double>>)->Arg(16)->Arg(1 << 20);
BENCHMARK(decode<std::vector<double>>)->Arg(16)->Arg(1 << 20);
BENCHMARK(encode<std::vector<std::string>>)->Arg(16)->Arg(1024);
BENCHMARK(decode<std::vector<std::string>>)->Arg(16)->Arg(1024);
BENCHMARK(encode<std::map<std::string, int>>)->Arg(16)->Arg(1024);
BENCHMARK(decode<std::map<std::string, int>>)->Arg(16)->Arg(1024);

}  // namespace
