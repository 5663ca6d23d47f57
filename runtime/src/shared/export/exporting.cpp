// SPDX-License-Identifier: BSD-3-Clause
#include "shared/export/exporting.hpp"

#include "troupe/error.hpp"
#include "troupe/log.hpp"

#include "shared/remote/exported_object.hpp"

#include <algorithm>
#include <array>
#include <string>
#include <typeinfo>
#include <utility>

namespace troupe::detail {
namespace {

[[noreturn]] void refuse(const std::string& what, const std::string& instead) {
  throw error{errc::argument_encode_failed, task_ran::no,
              "troupe: " + what + " cannot go to another machine: " + instead};
}

void check_exportable(const region& object) {
  if (object.remote() != nullptr) {
    refuse("a handle of an object that is itself on another machine",
           "only the machine where an object is exports it to others");
  }
  const bool is_array = object.kind() == object_kind::array;
  if (object.kind() == object_kind::shared_memory) {
    refuse("shared_memory", "there is no memory that both have. Use troupe::array");
  }
  if (object.is_unguarded()) {
    refuse(is_array ? "a raw_array" : "a raw_value",
           std::string{"it is used without a lock, by its address. Use troupe::"} +
               (is_array ? "array" : "value"));
  }
  if (object.kind() == object_kind::priority_queue &&
      known_order::find(object.type_tag()) == nullptr) {
    refuse("a priority_queue whose item type this program does not know", "use it here first");
  }
}

}  // namespace

std::vector<exported_here> exporting::resolve(const attachment_list& attachments) const {
  std::vector<exported_here> found;
  std::vector<std::shared_ptr<const class attachment>> others;
  for (const auto& one : attachments) {
    if (auto object = region::import_any(one)) {
      check_exportable(*object);
      found.push_back({.object = std::move(object)});
    } else {
      others.push_back(one);
    }
  }
  // What is no object must be a part of a queue.
  const auto take = [&](std::uint64_t id) {
    const auto at = std::ranges::find(others, id, [](const auto& one) { return one->id(); });
    return at == others.end() ? nullptr : std::exchange(*at, nullptr);
  };
  for (exported_here& one : found) {
    const object_kind kind = one.object->kind();
    if (kind == object_kind::queue || kind == object_kind::lifo_queue ||
        kind == object_kind::priority_queue) {
      const auto [storage, socket] = local_queue::part_ids(*one.object);
      // Before `others` has holes: find looks at ids.
      one.storage = take(storage);
      std::erase(others, nullptr);
      one.socket = take(socket);
      std::erase(others, nullptr);
      if (one.storage == nullptr || one.socket == nullptr) {
        throw error{errc::protocol_error, task_ran::no,
                    "troupe: a queue came without all of its parts"};
      }
    }
  }
  if (!others.empty()) {
    refuse("a connection, a listener's end, a view of shared memory, or another descriptor",
           "it is of this machine's kernel. Use a queue, or connect to a listener over TCP");
  }
  return found;
}

void exporting::save(output_archive& ar, const attachment_list& attachments) {
  if (attachments.size() > max_exports_at_once) {
    refuse("a value with more than " + std::to_string(max_exports_at_once) + " handles in it",
           "send it in parts");
  }
  std::vector<exported_here> wanted = resolve(attachments);
  const mutex_guard lock{mutex_};
  if (over_) {
    throw error{errc::connection_lost, task_ran::no,
                "troupe: the link to the other machine is cut: no object can be exported to it"};
  }
  // First all that may fail, then what counts.
  std::vector<std::shared_ptr<exported_here>> found;
  for (exported_here& one : wanted) {
    const std::uint64_t id = one.object->id();
    if (const auto at = exported_.find(id); at != exported_.end()) {
      found.push_back(at->second);
      continue;
    }
    const auto same = [&](const auto& other) { return other->object == one.object; };
    if (const auto at = std::ranges::find_if(leaving_, same); at != leaving_.end()) {
      static_cast<void>(one.object->claim_slot_for(identity_));  // which it still has
      found.push_back(*at);
      continue;
    }
    one.slot = one.object->claim_slot_for(identity_);
    if (one.slot == nullptr) {
      one.object->recover_dead();
      one.slot = one.object->claim_slot_for(identity_);
    }
    if (one.slot == nullptr) {
      throw error{errc::resource_exhausted, task_ran::no,
                  std::to_string(region_slots) + " processes have this " +
                      std::string{to_string(one.object->kind())} +
                      " already, which is the most there can be"};
    }
    auto made = std::make_shared<exported_here>(std::move(one));
    // Before it has its handle, so that after any failure the slot still has an owner.
    leaving_.push_back(made);
    made->handle = make_export_handle(*made);
    found.push_back(std::move(made));
  }
  for (const auto& one : found) {
    exported_[one->object->id()] = one;
    ++one->times;
    std::erase(leaving_, one);
  }
  ar.write_size(found.size());
  for (const auto& one : found) {
    const region& object = *one->object;
    ar(exported_object{.id = object.id(),
                       .kind = static_cast<std::uint32_t>(object.kind()),
                       .type_tag = object.type_tag(),
                       .payload_bytes = object.payload_bytes(),
                       .name = object.name()});
  }
}

attachment_list exporting::load(input_archive& ar) {
  const std::size_t count = ar.read_exact_size(sizeof(std::uint64_t), typeid(exported_object));
  if (count > max_exports_at_once) {
    ar.fail("it names too many shared objects", typeid(exported_object));
  }
  attachment_list named;
  for (std::size_t i = 0; i < count; ++i) {
    std::uint64_t id = 0;
    ar(id);
    const auto one = find(id);
    if (one == nullptr) {
      ar.fail("it names a shared object that was not exported to this importer",
              typeid(exported_object));
    }
    named.push_back(one->object);
    if (one->storage != nullptr) {
      named.push_back(one->storage);
      named.push_back(one->socket);
    }
  }
  return named;
}

std::shared_ptr<exported_here> exporting::find(std::uint64_t id) const {
  const mutex_guard lock{mutex_};
  const auto at = exported_.find(id);
  return at == exported_.end() ? nullptr : at->second;
}

void exporting::give_back(std::uint64_t id, std::uint64_t times) {
  const mutex_guard lock{mutex_};
  if (const auto at = exported_.find(id); at != exported_.end()) {
    at->second->times -= std::min(times, at->second->times);
    if (at->second->times == 0) {
      leaving_.push_back(std::move(at->second));
      exported_.erase(at);
    }
  }
  drop_unused();
}

void exporting::drop_unused() noexcept {
  std::erase_if(leaving_, [this](const std::shared_ptr<exported_here>& one) {
    // `find` does not find it any more: a count of one stays one.
    return one.use_count() == 1 && one->object->leave_slot_of(identity_);
  });
}

void exporting::end() noexcept {
  const mutex_guard lock{mutex_};
  over_ = true;
  for (auto& [id, one] : exported_) {
    leaving_.push_back(std::move(one));
  }
  exported_.clear();
  for (const auto& one : leaving_) {
    try {
      one->object->end_slot_of(identity_);
    } catch (const std::exception& why) {
      // A damaged object: its other users find that out as well.
      log(log_level::warning, std::string{"troupe: what a remote process held of a shared object "
                                          "could not be given back: "} +
                                  why.what());
    }
  }
  leaving_.clear();
}

}  // namespace troupe::detail
