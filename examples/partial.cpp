// SPDX-License-Identifier: BSD-3-Clause
//
// A function with some of its arguments bound: what Python does with functools.partial, and what
// one does here instead of a lambda that captures, which cannot cross to another process.
//
// Prints:
//   101 102 103
//   1 4 9 16
//   <b>one</b> <b>two</b>
//   7.5 8.5

#include "troupe/pool.hpp"

#include <iostream>
#include <string>
#include <vector>

int add(int a, int b) {
  return a + b;
}
int power(int exponent, int base) {
  int result = 1;
  for (int i = 0; i < exponent; ++i) {
    result *= base;
  }
  return result;
}
std::string wrap(const std::string& before, const std::string& after, const std::string& text) {
  return before + text + after;
}

struct offset {
  double by = 0;
  double apply(double x) const { return x + by; }
  template <class Archive>
  void serialize(Archive& ar) {
    ar(by);
  }
};

template <class T>
void print(const std::vector<T>& values) {
  for (std::size_t i = 0; i < values.size(); ++i) {
    std::cout << values[i] << (i + 1 < values.size() ? " " : "\n");
  }
}

int main(int argc, char** argv) {
  troupe::system system{argc, argv};
  troupe::pool pool{{.workers = 2}};
  print(pool.map(troupe::partial(add, 100), std::vector{1, 2, 3}));
  print(pool.map(troupe::partial(power, 2), std::vector{1, 2, 3, 4}));
  print(pool.map(troupe::partial(wrap, "<b>", "</b>"), std::vector<std::string>{"one", "two"}));
  print(pool.map(troupe::partial(&offset::apply, offset{7}), std::vector{0.5, 1.5}));
}
