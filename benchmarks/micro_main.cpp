// SPDX-License-Identifier: BSD-3-Clause
#include "troupe/system.hpp"

#include <benchmark/benchmark.h>

int main(int argc, char** argv) {
  const troupe::system system{argc, argv};
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) {
    return 1;
  }
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
}
