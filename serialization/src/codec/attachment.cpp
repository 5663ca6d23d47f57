// SPDX-License-Identifier: BSD-3-Clause
#include "troupe/detail/attachment.hpp"

#include "troupe/detail/archive.hpp"
#include "troupe/error.hpp"

#include <sys/random.h>

#include <algorithm>
#include <random>
#include <typeinfo>
#include <utility>

namespace troupe::detail {
namespace {

constinit thread_local attachment_list* loading = nullptr;
constinit thread_local attachment_route loading_way = attachment_route::descriptors;
constinit thread_local const attachment_list* unloading = nullptr;

}  // namespace

attachment::~attachment() = default;

std::uint64_t new_attachment_id() {
  std::uint64_t id = 0;
  while (id == 0) {
    if (::getrandom(&id, sizeof id, 0) != static_cast<ssize_t>(sizeof id)) {
      std::random_device device;
      id = std::uint64_t{device()} << 32 | device();
    }
  }
  return id;
}

attachment_collector::attachment_collector(attachment_list& to, attachment_route way) noexcept
    : outer_{std::exchange(loading, &to)}, outer_way_{std::exchange(loading_way, way)} {}
attachment_collector::~attachment_collector() {
  loading = outer_;
  loading_way = outer_way_;
}

attachment_source::attachment_source(const attachment_list& from) noexcept
    : outer_{std::exchange(unloading, &from)} {}
attachment_source::~attachment_source() {
  unloading = outer_;
}

bool attachments_are_at_hand() noexcept {
  return unloading != nullptr;
}

void save_attachment(output_archive& ar, std::shared_ptr<const attachment> what) {
  if (loading == nullptr) {
    throw error{errc::argument_encode_failed, task_ran::no,
                "troupe: a handle of a shared object crosses only as an argument or a result, as "
                "an item of a queue, or through a pipe, alone or inside of other values: plain "
                "bytes cannot carry it"};
  }
  if (loading_way == attachment_route::descriptors && what->number() < 0) {
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

std::shared_ptr<const attachment> load_attachment(input_archive& ar) {
  std::uint64_t id = 0;
  ar.read(&id, sizeof id, typeid(attachment));
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
      typeid(attachment));
}

}  // namespace troupe::detail
