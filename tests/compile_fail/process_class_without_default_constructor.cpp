// SPDX-License-Identifier: BSD-3-Clause
// ERROR: troupe: a class derived from process_base needs a default constructor
// NAMES: without_default
#include "troupe/process.hpp"

struct without_default : troupe::process_base<without_default> {
  explicit without_default(int n) : number{n} {}
  template <class Archive>
  void serialize(Archive& ar) {
    ar(number);
  }
  void run() override {}
  int number;
};

void test() {
  without_default{1}.start();
}
