// SPDX-License-Identifier: BSD-3-Clause
//
// Sixteen million bytes that a task makes, another one changes and the program reads, without a copy.
//
// Prints:
//   2000000 numbers, the last one is 1999999
//   doubled by four tasks: the last one is 3999998
//   through a queue: the same memory: yes
//   a plain vector was doubled in the worker's copy: its last one is 1999999

#include "troupe/buffer.hpp"
#include "troupe/pool.hpp"
#include "troupe/queue.hpp"
#include "troupe/system.hpp"

#include <iostream>
#include <numeric>
#include <utility>
#include <vector>

troupe::buffer<double> count_up(int n) {
  troupe::buffer<double> numbers(n);  // in memory that crosses
  std::iota(numbers.begin(), numbers.end(), 0.0);
  return numbers;
}

/// A quarter of them, so that four tasks do not write the same.
void double_quarter(troupe::buffer<double> numbers, int quarter) {
  const std::size_t length = numbers.size() / 4;
  for (double& one : numbers.span().subspan(static_cast<std::size_t>(quarter) * length, length)) {
    one *= 2;
  }
}

void pass_on(troupe::queue<troupe::buffer<double>> from, troupe::queue<troupe::buffer<double>> to) {
  to.put(from.get());
}

void double_plain(std::vector<double> numbers) {
  for (double& one : numbers) {
    one *= 2;
  }
}

int main(int argc, char** argv) {
  troupe::system system{argc, argv};
  troupe::pool pool{{.workers = 2}};

  const troupe::buffer<double> numbers = pool.apply(count_up, 2'000'000);
  std::cout << numbers.size() << " numbers, the last one is "
            << static_cast<long>(numbers[numbers.size() - 1]) << '\n';

  std::vector<std::pair<troupe::buffer<double>, int>> quarters;
  for (int quarter = 0; quarter < 4; ++quarter) {
    quarters.emplace_back(numbers, quarter);
  }
  pool.starmap(double_quarter, quarters);
  std::cout << "doubled by four tasks: the last one is " << static_cast<long>(numbers.span().back())
            << '\n';

  const troupe::queue<troupe::buffer<double>> there;
  const troupe::queue<troupe::buffer<double>> back;
  there.put(numbers);
  pool.apply(pass_on, there, back);
  std::cout << "through a queue: the same memory: " << (back.get() == numbers ? "yes" : "no")
            << '\n';

  std::vector<double> plain(2'000'000);
  std::iota(plain.begin(), plain.end(), 0.0);
  pool.apply(double_plain, plain);
  std::cout << "a plain vector was doubled in the worker's copy: its last one is "
            << static_cast<long>(plain.back()) << '\n';
}
