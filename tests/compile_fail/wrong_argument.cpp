// SPDX-License-Identifier: BSD-3-Clause
// ERROR: troupe: this argument does not convert to the function's parameter
// NAMES: argument_must_convert<int,
#include "troupe/callable.hpp"

template <class F, class... Args>
void submit(F&& f, Args&&... args) {
  troupe::detail::byte_buffer sink;
  troupe::detail::encode_task_callable<F, Args...>(sink, f);
  troupe::detail::encode_task_arguments<F, Args...>(sink, args...);
}

int run(int x) {
  return x;
}

void test() {
  submit(run, "text");
}
