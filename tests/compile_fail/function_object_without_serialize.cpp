// SPDX-License-Identifier: BSD-3-Clause
// ERROR: troupe: this callable cannot cross to another process: use a function
// NAMES: callable_must_cross<scale>
#include "troupe/callable.hpp"

template <class F, class... Args>
void submit(F&& f, Args&&... args) {
  troupe::detail::byte_buffer sink;
  troupe::detail::encode_task_callable<F, Args...>(sink, f);
  troupe::detail::encode_task_arguments<F, Args...>(sink, args...);
}

struct scale {
  double factor = 1;
  double operator()(double x) const { return x * factor; }
};

void test() {
  submit(scale{2}, 1);
}
