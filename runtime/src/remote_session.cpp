// SPDX-License-Identifier: BSD-3-Clause
#include "troupe/detail/object_link.hpp"
#include "troupe/detail/thread_owned.hpp"
#include "troupe/error.hpp"

#include "far_session.hpp"
#include "kind_rules.hpp"
#include "lent_object.hpp"
#include "process_identity.hpp"

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

/// The calling thread, for all homes; when it ends they are told, as it may have locks.
class far_thread {
 public:
  far_thread() = default;
  ~far_thread() {
    for (const auto& one : used_) {
      if (const auto session = one.lock()) {
        session->thread_ended(number_);
      }
    }
  }
  far_thread(const far_thread&) = delete;
  far_thread& operator=(const far_thread&) = delete;

  std::uint64_t uses(const std::shared_ptr<far_session>& session) {
    const auto is_it = [&](const std::weak_ptr<far_session>& one) {
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
  std::vector<std::weak_ptr<far_session>> used_;
};

/// After a thread has told all homes that it ended, other variables of its own may still have
/// handles. It has another number then, one for the rest of its life, so that what it locks it can
/// unlock; that number's end comes with the session's.
constinit thread_local std::uint64_t number_after_end = 0;

std::uint64_t number_of_this_thread(const std::shared_ptr<far_session>& session) {
  if (far_thread* const alive = thread_owned<far_thread>::get()) {
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

const far_end& far_of(const region& object) noexcept {
  return *object.far();
}

}  // namespace

object_link::~object_link() = default;

// ---- far_session -------------------------------------------------------------------------------

far_session::far_session(std::unique_ptr<object_link> to_home) : link_{std::move(to_home)} {
  watch_forks();
  forks_ = fork_generation();
}

std::uint64_t far_session::send(byte_buffer& message, waiting_thread* for_answer) {
  if (forks_ != fork_generation()) {
    return 0;  // a forked child: the link is its parent's, and so are the locks below
  }
  // Numbers grow in the order in which messages go, so that home knows one that comes twice.
  const std::lock_guard sending{sending_};
  const std::uint64_t number = ++last_number_;
  std::memcpy(message.data() + number_offset, &number, sizeof number);
  {
    const std::lock_guard lock{mutex_};
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
    const std::lock_guard lock{mutex_};
    waiting_.erase(number);
    return 0;
  }
  return number;
}

far_answer far_session::call(byte_buffer& request) {
  waiting_thread me;
  if (send(request, &me) == 0) {
    throw_lost(task_ran::no);
  }
  {
    std::unique_lock lock{mutex_};
    me.came.wait(lock, [&] { return me.answered || me.lost; });
  }
  if (!me.answered) {
    throw_lost(task_ran::maybe);
  }
  if (static_cast<answer_status>(me.answer[answer_header_bytes - 1]) == answer_status::failed) {
    rethrow(far_answer{std::move(me.answer)}.result<failure>());
  }
  return far_answer{std::move(me.answer)};
}

void far_session::post(far_message what, std::uint64_t thread, std::uint64_t object,
                       std::uint64_t count) noexcept {
  try {
    byte_buffer message;
    output_archive ar{message};
    ar(what, std::uint64_t{0}, thread);
    if (what == far_message::release) {
      ar(object, count);
    }
    static_cast<void>(send(message, nullptr));
  } catch (const std::exception&) {  // NOLINT(bugprone-empty-catch)
    // Out of memory: home keeps what nobody uses until the session ends.
  }
}

void far_session::receive(std::span<const std::byte> message) {
  std::uint64_t number = 0;
  if (message.size() < answer_header_bytes) {
    return;
  }
  std::memcpy(&number, message.data(), sizeof number);
  const std::lock_guard lock{mutex_};
  const auto found = waiting_.find(number);
  if (found == waiting_.end()) {
    return;  // came twice, or nobody asked
  }
  waiting_thread& to = *found->second;
  to.answer.assign(message.begin(), message.end());
  to.answered = true;
  waiting_.erase(found);
  to.came.notify_one();
}

void far_session::end() noexcept {
  const std::lock_guard lock{mutex_};
  over_ = true;
  for (const auto& [number, thread] : waiting_) {
    thread->lost = true;
    thread->came.notify_one();
  }
  waiting_.clear();
}

void far_session::save(output_archive& ar, const cargo_list& cargo) {
  std::vector<std::uint64_t> ids;
  for (const auto& one : cargo) {
    const auto object = std::dynamic_pointer_cast<const region>(one);
    if (object == nullptr || object->far() == nullptr || object->far()->session().get() != this) {
      throw error{errc::argument_encode_failed, task_ran::no,
                  "troupe: a handle of an object that is not of the other machine cannot go there: "
                  "only the machine where an object is lends it to others. Make it there"};
    }
    ids.push_back(one->id());
  }
  ar(ids);
}

cargo_list far_session::load(input_archive& ar) {
  const std::size_t count = ar.read_size(typeid(lent_object));
  if (count > most_lent_at_once) {
    ar.fail("it names too many shared objects", typeid(lent_object));
  }
  cargo_list found;
  for (std::size_t i = 0; i < count; ++i) {
    lent_object one;
    ar(one);
    found.push_back(arrived(ar, one));
  }
  return found;
}

std::shared_ptr<region> far_session::arrived(input_archive& ar, const lent_object& one) {
  const auto kind = static_cast<object_kind>(one.kind);
  const object_rules* const rules = rules_of_kind(kind);
  if (rules == nullptr || one.payload_bytes < rules->min_payload_bytes ||
      one.payload_bytes > std::uint64_t{1} << 46) {
    ar.fail("it names a shared object that cannot be", typeid(lent_object));
  }
  const std::lock_guard lock{known_mutex_};
  if (const auto known = known_.find(one.id); known != known_.end()) {
    if (auto here = known->second.lock()) {
      here->far()->arrived_again();
      return here;
    }
  }
  auto made = region::lent({.rules = rules,
                            .name = one.name,
                            .payload_bytes = static_cast<std::size_t>(one.payload_bytes),
                            .type_tag = one.type_tag},
                           one.id, std::make_unique<far_end>(shared_from_this(), one.id));
  std::erase_if(known_, [](const auto& entry) { return entry.second.expired(); });
  known_[one.id] = made;
  return made;
}

// ---- what handles use --------------------------------------------------------------------------

far_end::~far_end() {
  session_->post(far_message::release, 0, id_, lent_.load());
}

far_request::far_request(const region& object, far_op what) : to_{far_of(object).session()} {
  ar_(far_message::request, std::uint64_t{0}, number_of_this_thread(to_), object.id(), what);
}

far_answer far_request::send() {
  return to_->call(bytes_);
}

bool same_home(const region& a, const region& b) noexcept {
  return a.far() != nullptr && b.far() != nullptr && a.far()->session() == b.far()->session();
}

void save_far_cargo(output_archive& ar, const region& object, const cargo_list& cargo) {
  far_of(object).session()->save(ar, cargo);
}

cargo_list load_far_cargo(input_archive& ar, const region& object) {
  return far_of(object).session()->load(ar);
}

// ---- remote_session ----------------------------------------------------------------------------

remote_session::remote_session(std::unique_ptr<object_link> to_home)
    : session_{std::make_shared<far_session>(std::move(to_home))} {}

remote_session::~remote_session() {
  end();
}

void remote_session::receive(std::span<const std::byte> message) {
  session_->receive(message);
}

void remote_session::end() noexcept {
  session_->end();
}

std::vector<std::byte> remote_session::pack(const cargo_list& cargo) {
  byte_buffer bytes;
  output_archive ar{bytes};
  session_->save(ar, cargo);
  return {bytes.bytes().begin(), bytes.bytes().end()};
}

cargo_list remote_session::unpack(std::span<const std::byte> bytes) {
  input_archive ar{bytes};
  auto found = session_->load(ar);
  ar.finish(typeid(cargo_list));
  return found;
}

}  // namespace troupe::detail
