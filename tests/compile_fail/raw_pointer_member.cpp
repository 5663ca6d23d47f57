// SPDX-License-Identifier: BSD-3-Clause
// ERROR: troupe: a raw pointer cannot cross to another process
// NAMES: must_be_serializable<int ?\*>
#include "troupe/callable.hpp"

template <class F, class... Args>
void submit(F&& f, Args&&... args) {
  troupe::detail::byte_buffer sink;
  troupe::detail::encode_task_callable<F, Args...>(sink, f);
  troupe::detail::encode_task_arguments<F, Args...>(sink, args...);
}

struct job {
  int* p = nullptr;
  template <class Archive>
  void serialize(Archive& ar) {
    ar(p);
  }
};
int run(job) {
  return 0;
}

void test() {
  submit(run, job{});
}
