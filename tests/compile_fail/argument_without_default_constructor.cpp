// SPDX-License-Identifier: BSD-3-Clause
// ERROR: has no default constructor: add one
// NAMES: must_be_default_constructible<job>
#include "troupe/callable.hpp"

template <class F, class... Args>
void submit(F&& f, Args&&... args) {
  troupe::detail::byte_buffer sink;
  troupe::detail::encode_task_callable<F, Args...>(sink, f);
  troupe::detail::encode_task_arguments<F, Args...>(sink, args...);
}

struct job {
  explicit job(int n) : x(n) {}
  int x;
  template <class Archive>
  void serialize(Archive& ar) {
    ar(x);
  }
};
int run(const std::vector<job>&) {
  return 0;
}

void test() {
  submit(run, std::vector<job>{});
}
