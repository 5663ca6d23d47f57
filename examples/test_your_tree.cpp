// SPDX-License-Identifier: BSD-3-Clause
//
// A test of one's own tree, in virtual time and without a process: what restarts after which death,
// how long it waits before that, and whether the tree is whole again if a child dies at any moment.
//
// Prints:
//   0ms cache started
//   0ms cache ready
//   0ms feed started
//   0ms feed ready
//   3600000ms cache ended: signal
//   3600000ms feed ended: finished
//   3600000ms cache restarted
//   3600000ms cache ready
//   3600000ms feed restarted
//   3600000ms feed ready
//   feed has run 120 times
//   whole again after 24 of 24 deaths

#include "troupe/supervisor.hpp"
#include "troupe/task.hpp"
#include "troupe/testing.hpp"
#include "troupe/this_service.hpp"

#include <chrono>
#include <iostream>

using namespace std::chrono_literals;

int runs = 0;

troupe::task<void> feed() {
  troupe::this_service::ready();
  for (;;) {
    co_await troupe::sleep_for(1min);
    ++runs;
  }
}
void cache() {}  // a process in production; a stand-in in the test

void build(troupe::supervisor& tree) {
  tree.add(troupe::child_process("cache", cache));
  tree.add(troupe::child_service("feed", feed, {.after = {"cache"}}));
}

int main() {
  {
    troupe::supervisor tree{{.strategy = troupe::strategy::rest_for_one}};
    build(tree);
    troupe::simulation test{tree};
    test.start();
    test.run_for(1h);
    test.kill("cache");
    test.run_for(1h);
    for (const auto& one : test.happened()) {
      std::cout << to_string(one) << '\n';
    }
    std::cout << "feed has run " << runs << " times\n";
  }
  int whole = 0;
  for (std::size_t event = 1; event <= 12; ++event) {
    for (const char* victim : {"cache", "feed"}) {
      troupe::supervisor tree{{.strategy = troupe::strategy::rest_for_one}};
      build(tree);
      troupe::simulation test{tree, {.seed = event}};
      test.kill_at(event, victim);
      test.start();
      test.run_for(1min);
      whole += tree.child("cache").ready && tree.child("feed").ready ? 1 : 0;
    }
  }
  std::cout << "whole again after " << whole << " of 24 deaths\n";
}
