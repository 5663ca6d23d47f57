// SPDX-License-Identifier: BSD-3-Clause
#include "troupe/error.hpp"

#include "base/thread_owned.hpp"
#include "os/process_identity.hpp"
#include "shared/core/kind_rules.hpp"
#include "shared/remote/exported_object.hpp"
#include "shared/remote/import_state.hpp"
#include "shared/remote/imported_operations.hpp"
#include "shared/remote/object_sink.hpp"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <string>
#include <typeinfo>

namespace troupe::detail {
namespace {

std::uint64_t next_thread() noexcept {
  static std::atomic<std::uint64_t> last{0};
  return ++last;
}

/// The calling thread, for all exporters; when it ends they are told, as it may have locks.
class remote_thread {
 public:
  remote_thread() = default;
  ~remote_thread() {
    for (const auto& one : used_) {
      if (const auto session = one.lock()) {
        session->thread_ended(number_);
      }
    }
  }
  remote_thread(const remote_thread&) = delete;
  remote_thread& operator=(const remote_thread&) = delete;

  std::uint64_t uses(const std::shared_ptr<import_state>& session) {
    const auto is_it = [&](const std::weak_ptr<import_state>& one) {
      return !one.owner_before(session) && !session.owner_before(one);
    };
    if (std::none_of(used_.begin(), used_.end(), is_it)) {
      std::erase_if(used_, [](const auto& one) { return one.expired(); });
      used_.push_back(session);
    }
    return number_;
  }

 private:
  std::uint64_t number_ = next_thread();
  std::vector<std::weak_ptr<import_state>> used_;
};

/// After a thread has told all exporters that it ended, other variables of its own may still have
/// handles. It has another number then, one for the rest of its life, so that what it locks it can
/// unlock; that number's end comes with the session's.
constinit thread_local std::uint64_t number_after_end = 0;

std::uint64_t number_of_this_thread(const std::shared_ptr<import_state>& session) {
  if (remote_thread* const alive = thread_owned<remote_thread>::get()) {
    return alive->uses(session);
  }
  if (number_after_end == 0) {
    number_after_end = next_thread();
  }
  return number_after_end;
}

[[noreturn]] void throw_lost(task_ran ran) {
  throw error{
      errc::connection_lost, ran,
      ran == task_ran::no
          ? "troupe: the link to the machine of this object is cut: nothing was done"
          : "troupe: the link to the machine of this object was cut before it answered: the "
            "operation may have been done, and what it took was given back there"};
}

const imported_object& remote_of(const region& object) noexcept {
  return *imported(object);
}

}  // namespace

object_sink::~object_sink() = default;

// ---- import_state -------------------------------------------------------------------------------

import_state::import_state(std::unique_ptr<object_sink> to_exporter)
    : link_{std::move(to_exporter)} {
  watch_forks();
  forks_ = fork_generation();
}

std::uint64_t import_state::send(byte_buffer& message, waiting_thread* for_answer) {
  if (forks_ != fork_generation()) {
    return 0;  // a forked child: the link is its parent's, and so are the locks below
  }
  // Numbers grow in the order in which messages go, so that the exporter knows one that comes
  // twice.
  const mutex_guard sending{sending_};
  const std::uint64_t number = ++last_number_;
  std::memcpy(message.data() + number_offset, &number, sizeof number);
  {
    const mutex_guard lock{mutex_};
    if (over_) {
      return 0;
    }
    if (for_answer != nullptr) {
      waiting_.emplace(number, for_answer);
    }
  }
  try {
    link_->send({message.bytes().begin(), message.bytes().end()});
  } catch (...) {  // whatever a transport throws: it means that the message did not go
    const mutex_guard lock{mutex_};
    waiting_.erase(number);
    return 0;
  }
  return number;
}

remote_answer import_state::call(byte_buffer& request) {
  waiting_thread me;
  if (send(request, &me) == 0) {
    throw_lost(task_ran::no);
  }
  {
    mutex_lock lock{mutex_};
    while (!me.answered && !me.lost) {
      me.came.wait(lock);
    }
  }
  if (!me.answered) {
    throw_lost(task_ran::maybe);
  }
  if (static_cast<answer_status>(me.answer[answer_header_bytes - 1]) == answer_status::failed) {
    rethrow(remote_answer{std::move(me.answer)}.result<failure>());
  }
  return remote_answer{std::move(me.answer)};
}

void import_state::post(remote_message what, std::uint64_t thread, std::uint64_t object,
                        std::uint64_t count) noexcept {
  try {
    byte_buffer message;
    output_archive ar{message};
    ar(what, std::uint64_t{0}, thread);
    if (what == remote_message::release) {
      ar(object, count);
    }
    static_cast<void>(send(message, nullptr));
  } catch (const std::exception&) {  // NOLINT(bugprone-empty-catch)
    // Out of memory: the exporter keeps what has no handle here until the session ends.
  }
}

void import_state::receive(std::span<const std::byte> message) {
  std::uint64_t number = 0;
  if (message.size() < answer_header_bytes) {
    return;
  }
  std::memcpy(&number, message.data(), sizeof number);
  const mutex_guard lock{mutex_};
  const auto found = waiting_.find(number);
  if (found == waiting_.end()) {
    return;  // came twice, or no thread asked for it
  }
  waiting_thread& to = *found->second;
  to.answer.assign(message.begin(), message.end());
  to.answered = true;
  waiting_.erase(found);
  to.came.notify_one();
}

void import_state::end() noexcept {
  const mutex_guard lock{mutex_};
  over_ = true;
  for (const auto& [number, thread] : waiting_) {
    thread->lost = true;
    thread->came.notify_one();
  }
  waiting_.clear();
}

void import_state::save(output_archive& ar, const attachment_list& attachments) {
  std::vector<std::uint64_t> ids;
  for (const auto& one : attachments) {
    const auto object = std::dynamic_pointer_cast<const region>(one);
    if (object == nullptr || object->remote() == nullptr ||
        imported(*object)->session().get() != this) {
      throw error{errc::argument_encode_failed, task_ran::no,
                  "troupe: a handle of an object that is not of the other machine cannot go there: "
                  "only the machine where an object is exports it to others. Make it there"};
    }
    ids.push_back(one->id());
  }
  ar(ids);
}

attachment_list import_state::load(input_archive& ar) {
  const std::size_t count = ar.read_size(typeid(exported_object));
  if (count > max_exports_at_once) {
    ar.fail("it names too many shared objects", typeid(exported_object));
  }
  attachment_list found;
  for (std::size_t i = 0; i < count; ++i) {
    exported_object one;
    ar(one);
    found.push_back(arrived(ar, one));
  }
  return found;
}

std::shared_ptr<region> import_state::arrived(input_archive& ar, const exported_object& one) {
  const auto kind = static_cast<object_kind>(one.kind);
  const object_rules* const rules = rules_of_kind(kind);
  if (rules == nullptr || one.payload_bytes < rules->min_payload_bytes ||
      one.payload_bytes > std::uint64_t{1} << 46) {
    ar.fail("it names a shared object that cannot be", typeid(exported_object));
  }
  const mutex_guard lock{known_mutex_};
  if (const auto known = known_.find(one.id); known != known_.end()) {
    if (auto here = known->second.lock()) {
      imported(*here)->arrived_again();
      return here;
    }
  }
  auto made =
      region::imported({.rules = rules,
                        .name = one.name,
                        .payload_bytes = static_cast<std::size_t>(one.payload_bytes),
                        .type_tag = one.type_tag},
                       one.id, std::make_unique<imported_object>(shared_from_this(), one.id),
                       imported_operations_of(kind));
  std::erase_if(known_, [](const auto& entry) { return entry.second.expired(); });
  known_[one.id] = made;
  return made;
}

// ---- what handles use --------------------------------------------------------------------------

imported_object::~imported_object() {
  session_->post(remote_message::release, 0, id_, exported_.load());
}

remote_request::remote_request(const region& object, remote_op what)
    : to_{remote_of(object).session()} {
  ar_(remote_message::request, std::uint64_t{0}, number_of_this_thread(to_), object.id(), what);
}

remote_answer remote_request::send() {
  return to_->call(bytes_);
}

bool same_exporter(const region& a, const region& b) noexcept {
  return a.remote() != nullptr && b.remote() != nullptr &&
         imported(a)->session() == imported(b)->session();
}

void save_remote_attachments(output_archive& ar, const region& object,
                             const attachment_list& attachments) {
  remote_of(object).session()->save(ar, attachments);
}

attachment_list load_remote_attachments(input_archive& ar, const region& object) {
  return remote_of(object).session()->load(ar);
}

// ---- import_session ----------------------------------------------------------------------------

import_session::import_session(std::unique_ptr<object_sink> to_exporter)
    : session_{std::make_shared<import_state>(std::move(to_exporter))} {}

import_session::~import_session() {
  end();
}

void import_session::receive(std::span<const std::byte> message) {
  session_->receive(message);
}

void import_session::end() noexcept {
  session_->end();
}

std::vector<std::byte> import_session::pack(const attachment_list& attachments) {
  byte_buffer bytes;
  output_archive ar{bytes};
  session_->save(ar, attachments);
  return {bytes.bytes().begin(), bytes.bytes().end()};
}

attachment_list import_session::unpack(std::span<const std::byte> bytes) {
  input_archive ar{bytes};
  auto found = session_->load(ar);
  ar.finish(typeid(attachment_list));
  return found;
}

}  // namespace troupe::detail
