// SPDX-License-Identifier: BSD-3-Clause
#include "troupe/detail/cargo.hpp"

#include "troupe/error.hpp"

#include <sys/random.h>

#include <algorithm>
#include <random>
#include <typeinfo>
#include <utility>

namespace troupe::detail {
namespace {

constinit thread_local cargo_list* loading = nullptr;
constinit thread_local cargo_way loading_way = cargo_way::descriptors;
constinit thread_local const cargo_list* unloading = nullptr;

}  // namespace

cargo::~cargo() = default;

std::uint64_t new_cargo_id() {
  std::uint64_t id = 0;
  while (id == 0) {
    if (::getrandom(&id, sizeof id, 0) != static_cast<ssize_t>(sizeof id)) {
      std::random_device device;
      id = std::uint64_t{device()} << 32 | device();
    }
  }
  return id;
}

cargo_loading::cargo_loading(cargo_list& to, cargo_way way) noexcept
    : outer_{std::exchange(loading, &to)}, outer_way_{std::exchange(loading_way, way)} {}
cargo_loading::~cargo_loading() {
  loading = outer_;
  loading_way = outer_way_;
}

cargo_unloading::cargo_unloading(const cargo_list& from) noexcept
    : outer_{std::exchange(unloading, &from)} {}
cargo_unloading::~cargo_unloading() {
  unloading = outer_;
}

bool cargo_is_unloading() noexcept {
  return unloading != nullptr;
}

void save_cargo(output_archive& ar, std::shared_ptr<const cargo> what) {
  if (loading == nullptr) {
    throw error{errc::argument_encode_failed, task_ran::no,
                "troupe: a handle of a shared object crosses only as an argument or a result, as "
                "an item of a queue, or through a pipe, alone or inside of other values: plain "
                "bytes cannot carry it"};
  }
  if (loading_way == cargo_way::descriptors && what->number() < 0) {
    throw error{errc::argument_encode_failed, task_ran::no,
                "troupe: this handle is of an object on another machine, and crosses only back to "
                "there: other processes of this machine need one that came to themselves"};
  }
  const std::uint64_t id = what->id();
  ar.write(&id, sizeof id);
  const bool known = std::any_of(loading->begin(), loading->end(),
                                 [&](const auto& other) { return other->id() == id; });
  if (!known) {
    loading->push_back(std::move(what));
  }
}

std::shared_ptr<const cargo> load_cargo(input_archive& ar) {
  std::uint64_t id = 0;
  ar.read(&id, sizeof id, typeid(cargo));
  if (unloading != nullptr) {
    for (const auto& one : *unloading) {
      if (one->id() == id) {
        return one;
      }
    }
  }
  ar.fail(
      "these bytes name a shared object that did not come with them: they never were a handle, "
      "or were copied from where its descriptor could not follow",
      typeid(cargo));
}

}  // namespace troupe::detail
