// SPDX-License-Identifier: BSD-3-Clause
#pragma once

namespace troupe::detail {

/// A constant of the whole process that is there before the first static initializer and stays
/// through the last static destructor: code of the user that runs there may call the library.
///
/// Declare it `constinit const`. What cannot be made at compile time is `*new` in a function.
template <class T>
union never_destroyed {
  constexpr never_destroyed() : value{} {}
  constexpr ~never_destroyed() {}
  never_destroyed(const never_destroyed&) = delete;
  never_destroyed& operator=(const never_destroyed&) = delete;

  T value;
};

}  // namespace troupe::detail
