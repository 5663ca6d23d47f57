// SPDX-License-Identifier: BSD-3-Clause
#include "process/throw_trace.hpp"

#include "process/loaded_modules.hpp"

#include <cxxabi.h>
#include <execinfo.h>
#include <unwind.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <string>

// An exception is thrown in two phases: first the unwinder asks each frame's personality routine
// whether it handles the exception, with the stack as it is, and only then it unwinds. This frame
// has a personality routine that says no, after it has noted down the stack.
#if defined(__x86_64__)
asm(R"(
.pushsection .text
.p2align 4
.hidden troupe_watched_call
.globl troupe_watched_call
.type troupe_watched_call, @function
troupe_watched_call:
.cfi_startproc
.cfi_personality 0x9b, DW.ref.troupe_watch_throw
    endbr64
    pushq %rbp
.cfi_def_cfa_offset 16
.cfi_offset 6, -16
    movq %rsp, %rbp
.cfi_def_cfa_register 6
    movq %rdi, %rax
    movq %rsi, %rdi
    call *%rax
    popq %rbp
.cfi_def_cfa 7, 8
    ret
.cfi_endproc
.size troupe_watched_call, .-troupe_watched_call
.popsection
)");
#define TROUPE_WATCHED_CALL 1
#elif defined(__aarch64__)
asm(R"(
.pushsection .text
.p2align 4
.hidden troupe_watched_call
.globl troupe_watched_call
.type troupe_watched_call, %function
troupe_watched_call:
.cfi_startproc
.cfi_personality 0x9b, DW.ref.troupe_watch_throw
    stp x29, x30, [sp, -16]!
.cfi_def_cfa_offset 16
.cfi_offset 29, -16
.cfi_offset 30, -8
    mov x29, sp
    mov x2, x0
    mov x0, x1
    blr x2
    ldp x29, x30, [sp], 16
.cfi_restore 30
.cfi_restore 29
.cfi_def_cfa_offset 0
    ret
.cfi_endproc
.size troupe_watched_call, .-troupe_watched_call
.popsection
)");
#define TROUPE_WATCHED_CALL 1
#else
#define TROUPE_WATCHED_CALL 0
#endif

#if TROUPE_WATCHED_CALL
// What the frame's description refers to: the routine's address, in data so that the code needs no
// relocation.
asm(R"(
.pushsection .data.rel.local.DW.ref.troupe_watch_throw, "awG", %progbits, DW.ref.troupe_watch_throw, comdat
.hidden DW.ref.troupe_watch_throw
.weak DW.ref.troupe_watch_throw
.p2align 3
.type DW.ref.troupe_watch_throw, %object
.size DW.ref.troupe_watch_throw, 8
DW.ref.troupe_watch_throw:
    .quad troupe_watch_throw
.popsection
)");

extern "C" void troupe_watched_call(void (*function)(void*), void* argument);
#endif

namespace troupe::detail {
namespace {

constexpr std::size_t most_frames = 32;

struct trace {
  std::size_t count = 0;
  std::array<void*, most_frames> frames{};
};
constinit thread_local trace thrown;

#if TROUPE_WATCHED_CALL

/// The function that `address`, which a call returns to, is in.
void* function_of(void* address) {
  return ::_Unwind_FindEnclosingFunction(static_cast<char*>(address) - 1);
}

void note_throw() {
  std::array<void*, most_frames + 16> all;
  const auto end = all.begin() + ::backtrace(all.data(), static_cast<int>(all.size()));
  // First come the machinery's own frames, the last of which is what the throw expression calls.
  auto first = all.begin();
  for (auto at = all.begin(); at != end && at - all.begin() < 10; ++at) {
    void* const function = function_of(*at);
    if (function == reinterpret_cast<void*>(&abi::__cxa_throw) ||
        function == reinterpret_cast<void*>(&abi::__cxa_rethrow)) {
      first = at + 1;
    }
  }
  // Below the watched call there is only the library.
  const auto last = std::find_if(first, end, [](void* address) {
    return function_of(address) == reinterpret_cast<void*>(&troupe_watched_call);
  });
  thrown.count = std::min(static_cast<std::size_t>(last - first), most_frames);
  std::copy_n(first, thrown.count, thrown.frames.begin());
}

#endif

code_location location_of(void* address) {
  // A return address may already belong to the next line or function: the call is what counts.
  const std::uint64_t inside = reinterpret_cast<std::uintptr_t>(address) - 1;
  const module_place where =
      // NOLINTNEXTLINE(performance-no-int-to-ptr): return addresses are numbers
      module_of(reinterpret_cast<void*>(inside));
  if (where.path == nullptr) {
    return {{}, inside, {}};
  }
  return {where.path, inside - where.base, std::string{where.id.text()}};
}

}  // namespace

void watched_call(void (*function)(void*), void* argument) {
#if TROUPE_WATCHED_CALL
  ::troupe_watched_call(function, argument);
#else
  function(argument);
#endif
}

std::vector<code_location> take_throw_trace() {
  std::vector<code_location> where;
  where.reserve(thrown.count);
  for (std::size_t i = 0; i < thrown.count; ++i) {
    where.push_back(location_of(thrown.frames.at(i)));
  }
  thrown.count = 0;
  return where;
}

}  // namespace troupe::detail

#if TROUPE_WATCHED_CALL
extern "C" __attribute__((visibility("hidden"), used)) _Unwind_Reason_Code
troupe_watch_throw(int /*version*/, _Unwind_Action actions, std::uint64_t /*exception_class*/,
                   _Unwind_Exception* /*exception*/, _Unwind_Context* /*frame*/) {
  if ((actions & _UA_SEARCH_PHASE) != 0) {
    troupe::detail::note_throw();
  }
  return _URC_CONTINUE_UNWIND;
}
#endif
