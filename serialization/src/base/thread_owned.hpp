// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <memory>
#include <new>

// When a thread ends, its thread_locals are destroyed in the reverse order of their construction.
// Code of the user may run after those of the library are gone: destructors of thread_locals that
// were made earlier, and, on the thread that ends the program, exit handlers and the destructors of
// static objects. Such code may call the library. So the library has two kinds of thread_locals
// only: words with a constant initializer and without a destructor, and objects that are made and
// found through `thread_owned`.
namespace troupe::detail {

/// An object that each thread has for itself. After its destruction `get` returns null.
///
/// `Tag` tells the objects of one type apart.
template <class T, class Tag = T>
class thread_owned {
 public:
  /// The one of the calling thread; made at the first call, destroyed with the thread's other
  /// thread_locals. Null from then on: the caller does without it, or refuses.
  static T* get() {
    slot& mine = own();
    return mine.now == state::made ? mine.object() : make(mine);
  }

 private:
  enum class state : unsigned char { not_yet, made, gone };

  /// Has no destructor, so its memory stays as it is for as long as the thread runs anything.
  struct slot {
    state now = state::not_yet;
    alignas(T) unsigned char bytes[sizeof(T)]{};

    T* object() noexcept { return std::launder(reinterpret_cast<T*>(&bytes)); }
  };

  struct destroyer {
    destroyer() = default;
    ~destroyer() {
      slot& mine = own();
      const state before = mine.now;
      mine.now = state::gone;  // first: what it owns may call the library
      if (before == state::made) {
        std::destroy_at(mine.object());
      }
    }
    destroyer(const destroyer&) = delete;
    destroyer& operator=(const destroyer&) = delete;
  };

  static slot& own() noexcept {
    constinit thread_local slot mine;
    return mine;
  }

  static T* make(slot& mine) {
    if (mine.now == state::gone) {
      return nullptr;
    }
    thread_local const destroyer at_end;
    static_cast<void>(at_end);
    T* const made = ::new (&mine.bytes) T{};
    mine.now = state::made;
    return made;
  }
};

}  // namespace troupe::detail
