// SPDX-License-Identifier: BSD-3-Clause
#include "troupe/shared_memory.hpp"

#include "troupe/detail/memory.hpp"
#include "troupe/detail/archive.hpp"
#include "troupe/error.hpp"

#include "os/sys.hpp"
#include "shared/core/kind_rules.hpp"

#include <fcntl.h>
#include <sys/stat.h>

#include <cerrno>
#include <stdexcept>
#include <utility>

namespace troupe {

constexpr detail::object_rules detail::memory_rules{.kind = object_kind::shared_memory};

namespace {

detail::region_spec spec_for(std::size_t bytes, const std::string& name) {
  return {.rules = &detail::memory_rules, .name = name, .payload_bytes = bytes};
}

void check_name(const std::string& name) {
  const auto refuse = [&](const char* why) {
    throw std::invalid_argument{"troupe: the name of shared memory " + std::string{why}};
  };
  if (name.empty()) {
    refuse("is empty");
  }
  if (name.find('/') != std::string::npos) {
    refuse("has a slash");
  }
  if (name.find('\0') != std::string::npos) {
    refuse("has a NUL");
  }
  if (name == "." || name == "..") {
    refuse("is that of a folder");
  }
  if (name.size() > 254) {
    refuse("is longer than 254 bytes");
  }
}

/// A view has another descriptor than an owner, so it is other attachments.
std::uint64_t view_id(std::uint64_t id) noexcept {
  return ~id;
}

}  // namespace

shared_memory::shared_memory() : object_handle{detail::region::create_default(spec_for(0, {}))} {}

shared_memory::shared_memory(std::size_t bytes, const shared_memory_options& options,
                             int /*checked*/) {
  if (options.name.empty()) {
    object_ = detail::region::create(spec_for(bytes, {}));
  } else {
    check_name(options.name);
    object_ = detail::region::create_named(spec_for(bytes, options.name));
  }
}

shared_memory shared_memory::open(const std::string& name) {
  check_name(name);
  return shared_memory{detail::region::open_named(name, detail::memory_rules)};
}

void shared_memory::load(input_archive& ar) {
  load_handle(ar, detail::memory_rules);
}

class shared_memory_view::mapped final : public detail::attachment {
 public:
  mapped(std::uint64_t id, detail::descriptor memory) : attachment{id}, memory_{std::move(memory)} {
    struct stat info{};
    const auto refuse = [] {
      throw error{errc::protocol_error, task_ran::maybe,
                  "what arrived is not the view of shared memory it is said to be"};
    };
    if (::fstat(memory_.number(), &info) != 0 ||
        info.st_size < static_cast<off_t>(detail::region::payload_offset())) {
      refuse();
    }
    memory_.keep_in_children();
    view_ = detail::map_readable(memory_, static_cast<std::size_t>(info.st_size));
    view_.share_with_children();
    const auto& header = *reinterpret_cast<const detail::region_header*>(view_.data());
    const std::uint64_t payload =
        std::atomic_ref<const std::uint64_t>{header.payload_bytes}.load(std::memory_order_relaxed);
    if (view_id(header.id) != id || header.kind != object_kind::shared_memory ||
        payload > view_.size() - detail::region::payload_offset()) {
      refuse();
    }
    bytes_ = {view_.data() + detail::region::payload_offset(), static_cast<std::size_t>(payload)};
  }
  [[nodiscard]] int number() const noexcept override { return memory_.number(); }
  [[nodiscard]] std::span<const std::byte> bytes() const noexcept { return bytes_; }

 private:
  detail::descriptor memory_;
  detail::mapping view_;
  std::span<const std::byte> bytes_;
};

shared_memory_view::shared_memory_view(const shared_memory& owner) {
  memory_ = std::make_shared<const mapped>(view_id(owner.id()),
                                           detail::read_only_view(owner.get().number()));
}

std::span<const std::byte> shared_memory_view::bytes() const noexcept {
  return memory_ == nullptr ? std::span<const std::byte>{} : memory_->bytes();
}

void shared_memory_view::save(output_archive& ar) const {
  ar(memory_ != nullptr);
  if (memory_ != nullptr) {
    save_attachment(ar, memory_);
  }
}

void shared_memory_view::load(input_archive& ar) {
  bool any = false;
  ar(any);
  if (!any) {
    memory_.reset();
    return;
  }
  const auto arrived = detail::load_attachment(ar);
  memory_ = std::dynamic_pointer_cast<const mapped>(arrived);
  if (memory_ == nullptr) {
    detail::descriptor copy{::fcntl(arrived->number(), F_DUPFD_CLOEXEC, 3)};
    if (!copy) {
      sys::fail(errc::resource_exhausted, "cannot keep the descriptor of shared memory", errno);
    }
    memory_ = std::make_shared<const mapped>(arrived->id(), std::move(copy));
  }
}

}  // namespace troupe
