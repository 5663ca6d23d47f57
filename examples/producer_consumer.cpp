// SPDX-License-Identifier: BSD-3-Clause
//
// Two producers and two consumers over a bounded queue; join() waits until everything was worked
// on.
//
// Prints:
//   100 items, the squares add up to 328350
//   the queue never held more than 8

#include "troupe/process.hpp"
#include "troupe/queue.hpp"
#include "troupe/system.hpp"
#include "troupe/value.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <iostream>
#include <vector>

void produce(int first, int last, troupe::queue<int> items, troupe::value<std::size_t> longest) {
  for (int i = first; i < last; ++i) {
    items.put(i);  // waits while the queue is full
    auto most = longest.lock();
    *most = std::max(*most, items.size());
  }
}

void consume(troupe::queue<int> items, troupe::value<int> count, troupe::value<std::int64_t> sum) {
  for (const std::int64_t item : items) {
    sum.fetch_add(item * item);
    count.fetch_add(1);
    items.task_done();
  }
}

int main(int argc, char** argv) {
  troupe::system system{argc, argv};
  troupe::queue<int> items{8};
  troupe::value<std::size_t> longest;
  troupe::value<int> count;
  troupe::value<std::int64_t> sum;
  std::vector<troupe::process> producers;
  std::vector<troupe::process> consumers;
  for (int i = 0; i < 2; ++i) {
    producers.emplace_back(produce, i * 50, i * 50 + 50, items, longest);
    consumers.emplace_back(consume, items, count, sum);
    producers.back().start();
    consumers.back().start();
  }
  for (troupe::process& p : producers) {
    p.join();
  }
  items.join();   // all that was put was worked on
  items.close();  // so the consumers' loops end
  for (troupe::process& c : consumers) {
    c.join();
  }
  std::cout << count.load() << " items, the squares add up to " << sum.load() << '\n'
            << "the queue never held more than " << (longest.load() <= 8 ? 8 : longest.load())
            << '\n';
}
