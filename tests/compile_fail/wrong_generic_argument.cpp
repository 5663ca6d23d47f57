// SPDX-License-Identifier: BSD-3-Clause
// ERROR: troupe: this callable cannot be called with these arguments
// NAMES: call_must_match<
#include "troupe/callable.hpp"

template <class F, class... Args>
void submit(F&& f, Args&&... args) {
  troupe::detail::byte_buffer sink;
  troupe::detail::encode_task_callable<F, Args...>(sink, f);
  troupe::detail::encode_task_arguments<F, Args...>(sink, args...);
}

void test() {
  submit([](auto& x) { x = 1; }, 1);
}
