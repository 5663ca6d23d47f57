// SPDX-License-Identifier: BSD-3-Clause
// ERROR: troupe: a capturing lambda cannot .*: bind the values with troupe::partial\(f, values
// NAMES: callable_must_cross<
#include "troupe/callable.hpp"

template <class F, class... Args>
void submit(F&& f, Args&&... args) {
  troupe::detail::byte_buffer sink;
  troupe::detail::encode_task_callable<F, Args...>(sink, f);
  troupe::detail::encode_task_arguments<F, Args...>(sink, args...);
}

void test() {
  int n = 1;
  submit([n](int x) { return x + n; }, 1);
}
