// SPDX-License-Identifier: BSD-3-Clause
// ERROR: troupe: this type cannot cross to another process: give it `template <class Archive>
// NAMES: must_be_serializable<shape>
#include "troupe/callable.hpp"

template <class F, class... Args>
void submit(F&& f, Args&&... args) {
  troupe::detail::byte_buffer sink;
  troupe::detail::encode_task_callable<F, Args...>(sink, f);
  troupe::detail::encode_task_arguments<F, Args...>(sink, args...);
}

struct shape {
  virtual ~shape() = default;
  int x = 0;
};
const shape& run(int);

void test() {
  submit(run, 1);
}
