// SPDX-License-Identifier: BSD-3-Clause
// ERROR: troupe: std::function and std::reference_wrapper hide what they call
// NAMES: callable_must_show_its_code<std::reference_wrapper<
#include "troupe/callable.hpp"

template <class F, class... Args>
void submit(F&& f, Args&&... args) {
  troupe::detail::byte_buffer sink;
  troupe::detail::encode_task_callable<F, Args...>(sink, f);
  troupe::detail::encode_task_arguments<F, Args...>(sink, args...);
}

struct scale {
  int operator()(int x) const { return x; }
};

void test() {
  scale s;
  submit(std::ref(s), 1);
}
