// SPDX-License-Identifier: BSD-3-Clause
//
// Three orders in which another process gets what was put: 3, 1, 2.
//
// Prints:
//   queue: 3 1 2
//   lifo_queue: 2 1 3
//   priority_queue: 1 2 3

#include "troupe/process.hpp"
#include "troupe/queue.hpp"
#include "troupe/system.hpp"

#include <iostream>
#include <string>

template <class Queue>
void drain(const std::string& name, Queue numbers) {
  std::cout << name << ':';
  while (const auto n = numbers.try_get()) {
    std::cout << ' ' << *n;
  }
  std::cout << std::endl;
}

template <class Queue>
void show(const std::string& name) {
  Queue numbers;
  for (const int n : {3, 1, 2}) {
    numbers.put(n);
  }
  troupe::process reader{drain<Queue>, name, numbers};
  reader.start();
  reader.join();
}

int main(int argc, char** argv) {
  troupe::system system{argc, argv};
  show<troupe::queue<int>>("queue");
  show<troupe::lifo_queue<int>>("lifo_queue");
  show<troupe::priority_queue<int>>("priority_queue");
}
