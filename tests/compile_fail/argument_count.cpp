// SPDX-License-Identifier: BSD-3-Clause
// ERROR: troupe: the number of arguments is not the number of parameters
// NAMES: argument_count_must_match<int \(\*\)\(int, int\), 1,
#include "troupe/callable.hpp"

template <class F, class... Args>
void submit(F&& f, Args&&... args) {
  troupe::detail::byte_buffer sink;
  troupe::detail::encode_task_callable<F, Args...>(sink, f);
  troupe::detail::encode_task_arguments<F, Args...>(sink, args...);
}

int add(int a, int b = 2) {
  return a + b;
}

void test() {
  submit(add, 1);
}
