// SPDX-License-Identifier: BSD-3-Clause
// ERROR: cannot take a raw pointer, which means nothing there
// NAMES: parameter_must_be_a_value<int ?\*>
#include "troupe/callable.hpp"

template <class F, class... Args>
void submit(F&& f, Args&&... args) {
  troupe::detail::byte_buffer sink;
  troupe::detail::encode_task_callable<F, Args...>(sink, f);
  troupe::detail::encode_task_arguments<F, Args...>(sink, args...);
}

int run(int* p) {
  return *p;
}

void test() {
  int x = 0;
  submit(run, &x);
}
