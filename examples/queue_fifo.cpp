// SPDX-License-Identifier: BSD-3-Clause
//
// Two processes share the ten items of one queue: each item goes to one of them, none twice.
//
// Prints:
//   taken by one process each: 0 1 2 3 4 5 6 7 8 9
//   each process saw its items in the order they were put: yes

#include "troupe/process.hpp"
#include "troupe/queue.hpp"
#include "troupe/system.hpp"

#include <algorithm>
#include <array>
#include <iostream>
#include <utility>
#include <vector>

void consume(int consumer, troupe::queue<int> items, troupe::queue<std::pair<int, int>> taken) {
  for (const int item : items) {  // ends when the queue is closed and drained
    taken.put({consumer, item});
  }
}

int main(int argc, char** argv) {
  troupe::system system{argc, argv};
  troupe::queue<int> items;
  troupe::queue<std::pair<int, int>> taken;
  troupe::process one{consume, 0, items, taken};
  troupe::process two{consume, 1, items, taken};
  one.start();
  two.start();
  for (int i = 0; i < 10; ++i) {
    items.put(i);
  }
  items.close();
  one.join();
  two.join();

  std::array<std::vector<int>, 2> of;
  std::vector<int> all;
  while (const auto next = taken.try_get()) {
    of.at(static_cast<std::size_t>(next->first)).push_back(next->second);
    all.push_back(next->second);
  }
  std::sort(all.begin(), all.end());
  std::cout << "taken by one process each:";
  for (const int item : all) {
    std::cout << ' ' << item;
  }
  const bool in_order =
      std::is_sorted(of[0].begin(), of[0].end()) && std::is_sorted(of[1].begin(), of[1].end());
  std::cout << "\neach process saw its items in the order they were put: "
            << (in_order ? "yes" : "no") << '\n';
}
