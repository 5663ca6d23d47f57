// SPDX-License-Identifier: BSD-3-Clause
#pragma once

// What a program that includes the library is compiled with. Every public header comes here first.
// A file that does not exist ends the compiler at once, with this one line; after an #error it would
// go on, with a page of what it does not understand below.
#if __cplusplus < 202002L
#include <troupe needs C++20: compile with -std=c++20, or link the CMake target troupe::troupe>
#endif
#if !defined(__cpp_exceptions)
#include <troupe needs exceptions: compile without -fno-exceptions>
#endif
#if !defined(__cpp_rtti)
#include <troupe needs typeid: compile without -fno-rtti>
#endif
