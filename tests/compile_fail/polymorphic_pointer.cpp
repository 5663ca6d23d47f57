// SPDX-License-Identifier: BSD-3-Clause
// ERROR: troupe: to let a pointer to a class with virtual functions cross
// NAMES: must_be_serializable<std::shared_ptr<(const )?shape>
#include "troupe/pool.hpp"

#include <memory>

struct shape {
  virtual ~shape() = default;
  virtual double area() const = 0;
};

double run(const std::shared_ptr<shape>& one) {
  return one->area();
}

void test(troupe::pool& pool, const std::shared_ptr<shape>& one) {
  pool.apply(run, one);
}
