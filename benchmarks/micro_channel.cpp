// SPDX-License-Identifier: BSD-3-Clause

// Both ends of a channel in one process and one thread: a frame's cost when no thread sleeps. This
// reads headers from detail/, as no program of a user should: the channel is not public.

#include "channel/channel.hpp"

#include <benchmark/benchmark.h>

#include <cstring>
#include <string>
#include <vector>

namespace {

namespace detail = troupe::detail;

constexpr int frames_per_round = 32;

void task_frames(benchmark::State& state) {
  const auto bytes = static_cast<std::size_t>(state.range(0));
  const std::vector<std::byte> payload(bytes);
  detail::supervisor_channel here;
  detail::worker_channel there{here.take_worker_ends()};
  std::string taken;
  for (auto _ : state) {
    for (int i = 0; i < frames_per_round; ++i) {
      std::byte* const room = here.begin_frame(bytes);
      std::memcpy(room, payload.data(), bytes);
      here.publish({static_cast<std::uint32_t>(bytes), detail::frame_kind::tasks, 0, 1});
    }
    here.ring_bell();
    taken.clear();
    benchmark::DoNotOptimize(there.take_frames(taken, 1 << 20));
  }
  state.SetItemsProcessed(state.iterations() * frames_per_round);
}

void result_frames(benchmark::State& state) {
  const auto bytes = static_cast<std::size_t>(state.range(0));
  const std::vector<std::byte> payload(bytes);
  detail::supervisor_channel here;
  detail::worker_channel there{here.take_worker_ends()};
  for (auto _ : state) {
    for (int i = 0; i < frames_per_round; ++i) {
      there.push(detail::frame_kind::result, 0, 1, {}, payload);
    }
    there.ring_bell();
    detail::frame_header header;
    std::span<const std::byte> seen;
    while (here.next_frame(header, seen)) {
      benchmark::DoNotOptimize(seen.data());
    }
    here.finish_reading();
  }
  state.SetItemsProcessed(state.iterations() * frames_per_round);
}

BENCHMARK(task_frames)->Arg(16)->Arg(1024);
BENCHMARK(result_frames)->Arg(16)->Arg(1024);

}  // namespace
