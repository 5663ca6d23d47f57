// SPDX-License-Identifier: BSD-3-Clause
// ERROR: non-const reference or span, .* in another process: return the value instead
// NAMES: parameter_must_be_a_value<std::(vector|__cxx11|)
#include "troupe/callable.hpp"

template <class F, class... Args>
void submit(F&& f, Args&&... args) {
  troupe::detail::byte_buffer sink;
  troupe::detail::encode_task_callable<F, Args...>(sink, f);
  troupe::detail::encode_task_arguments<F, Args...>(sink, args...);
}

void run(std::vector<int>& numbers) {
  numbers.clear();
}

void test() {
  submit(run, std::vector<int>{});
}
