// SPDX-License-Identifier: BSD-3-Clause

// Runs in a process that is damaged, at any instruction: nothing here allocates, locks or waits.

#include "channel/crash_layout.hpp"
#include "channel/crash_record.hpp"
#include "process/loaded_modules.hpp"

#include <execinfo.h>
#include <signal.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <new>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define TROUPE_CRASH_HANDLER 0
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define TROUPE_CRASH_HANDLER 0
#endif
#endif
#ifndef TROUPE_CRASH_HANDLER
#define TROUPE_CRASH_HANDLER 1
#endif

namespace troupe::detail {

void prepare_backtraces() {
  note_loaded_modules();
  // The first one loads the unwinder.
  std::array<void*, 4> addresses{};
  ::backtrace(addresses.data(), static_cast<int>(addresses.size()));
}

#if TROUPE_CRASH_HANDLER
namespace {

constexpr std::array fatal_signals{SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGSYS};
/// A fault as near to the stack pointer as this is the stack's own end.
constexpr std::uint64_t near_stack_bytes = std::uint64_t{64} * 1024;
constexpr unsigned seconds_to_write = 2;

/// What the handler needs to know of this process, noted beforehand, because the handler must not
/// call functions that allocate or lock.
struct crash_place {
  crash_layout* record = nullptr;
  pid_t pid = 0;
};
crash_place place;
/// Only touched in a crash, so it costs no memory before.
alignas(64) std::array<std::byte, std::size_t{128} * 1024> handler_stack;

struct registers {
  std::uint64_t pc = 0;
  std::uint64_t sp = 0;
};

registers registers_of(const void* context) {
  const auto* const at = static_cast<const ucontext_t*>(context);
#if defined(__x86_64__)
  return {static_cast<std::uint64_t>(at->uc_mcontext.gregs[REG_RIP]),
          static_cast<std::uint64_t>(at->uc_mcontext.gregs[REG_RSP])};
#elif defined(__aarch64__)
  return {at->uc_mcontext.pc, at->uc_mcontext.sp};
#else
  static_cast<void>(at);
  return {};
#endif
}

/// Where `text` stands in the record's texts, put there if it is new.
std::uint32_t note_text(crash_layout& record, const char* text) {
  for (std::uint32_t at = 0; at < record.text_bytes;
       at += static_cast<std::uint32_t>(std::strlen(record.texts.data() + at)) + 1) {
    if (std::strcmp(record.texts.data() + at, text) == 0) {
      return at;
    }
  }
  const std::size_t size = std::strlen(text) + 1;
  if (size > record.texts.size() - record.text_bytes) {
    return crash_layout::no_text;
  }
  const std::uint32_t at = record.text_bytes;
  std::memcpy(record.texts.data() + at, text, size);
  record.text_bytes = at + static_cast<std::uint32_t>(size);
  return at;
}

/// False: it is in no module.
bool note_frame(crash_layout& record, std::uint64_t address, bool is_return_address) {
  if (record.frame_count == record.frames.size()) {
    return true;
  }
  // A return address may already belong to the next line or function: the call is what counts.
  const std::uint64_t inside = is_return_address && address > 0 ? address - 1 : address;
  // NOLINTNEXTLINE(performance-no-int-to-ptr): registers hold numbers
  const module_place where = module_of(reinterpret_cast<void*>(inside));
  crash_layout::frame& frame = record.frames[record.frame_count];
  frame.module = where.path == nullptr ? crash_layout::no_text : note_text(record, where.path);
  frame.build_id = frame.module == crash_layout::no_text || !where.id.known()
                       ? crash_layout::no_text
                       : note_text(record, where.id.c_str());
  frame.offset = frame.module == crash_layout::no_text ? inside : inside - where.base;
  ++record.frame_count;
  return where.path != nullptr;
}

void note_frames(crash_layout& record, const registers& at) {
  // Room for the handler's own frames, which come first.
  std::array<void*, crash_layout::max_frames + 8> addresses{};
  const auto begin = addresses.begin();
  const auto end = begin + ::backtrace(addresses.data(), static_cast<int>(addresses.size()));
  auto first = std::find_if(begin, end, [&](void* address) {
    return reinterpret_cast<std::uintptr_t>(address) == at.pc;
  });
  if (at.pc != 0 || at.sp != 0) {
    const bool known = note_frame(record, at.pc, false);
#if defined(__x86_64__)
    if (!known && at.sp % alignof(std::uint64_t) == 0) {
      // A call to an address without code: the unwinder cannot go on, but the caller's address was
      // pushed last.
      std::uint64_t caller = 0;
      // NOLINTNEXTLINE(performance-no-int-to-ptr): registers hold numbers
      std::memcpy(&caller, reinterpret_cast<const void*>(at.sp), sizeof caller);
      note_frame(record, caller, true);
    }
#else
    static_cast<void>(known);
#endif
    first = first == end ? end : first + 1;
  } else {
    first = begin;
  }
  for (; first != end; ++first) {
    note_frame(record, reinterpret_cast<std::uintptr_t>(*first), true);
  }
}

void on_crash(int number, siginfo_t* info, void* context) {
  // First of all, so that whatever happens from here on ends the process.
  for (const int fatal : fatal_signals) {
    ::signal(fatal, SIG_DFL);
  }
  static std::atomic_flag entered = ATOMIC_FLAG_INIT;
  // The note is about this process, not about a child that it forked, in which it is not mapped.
  if (::getpid() == place.pid && !entered.test_and_set()) {
    ::signal(SIGALRM, SIG_DFL);
    sigset_t alarm;
    sigemptyset(&alarm);
    sigaddset(&alarm, SIGALRM);
    ::pthread_sigmask(SIG_UNBLOCK, &alarm, nullptr);
    ::alarm(seconds_to_write);
    crash_layout& record = *place.record;
    const registers at = registers_of(context);
    record.signal = number;
    record.code = info->si_code;
    if (info->si_code > 0 && number != SIGABRT && number != SIGSYS) {
      record.address = reinterpret_cast<std::uintptr_t>(info->si_addr);
      // For SI_KERNEL the kernel gives none and leaves zero.
      if (info->si_code != SI_KERNEL) {
        record.flags |= crash_layout::has_address;
      }
      if (number == SIGSEGV && record.address + near_stack_bytes > at.sp &&
          record.address < at.sp + near_stack_bytes) {
        record.flags |= crash_layout::at_stack_end;
      }
    }
    record.state.store(crash_layout::writing, std::memory_order_release);
    note_frames(record, at);
    record.state.store(crash_layout::whole, std::memory_order_release);
  }
  // Blocked while this handler runs, so it ends the process on return, with the stack as it was for
  // a core dump. A fault would come again by itself, a signal that was sent would not.
  ::syscall(SYS_tgkill, ::getpid(), ::syscall(SYS_gettid), number);
}

}  // namespace

void install_crash_handler(std::span<std::byte> record) {
  place.record = std::launder(reinterpret_cast<crash_layout*>(record.data()));
  place.pid = ::getpid();
  prepare_backtraces();
  stack_t stack{};
  stack.ss_sp = handler_stack.data();
  stack.ss_size = handler_stack.size();
  ::sigaltstack(&stack, nullptr);
  struct sigaction action{};
  action.sa_sigaction = &on_crash;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK | static_cast<int>(SA_RESETHAND);
  sigemptyset(&action.sa_mask);
  for (const int fatal : fatal_signals) {
    struct sigaction current{};
    // What the program ignores stays ignored.
    if (::sigaction(fatal, nullptr, &current) == 0 && current.sa_handler != SIG_IGN) {
      ::sigaction(fatal, &action, nullptr);
    }
  }
}

#else

void install_crash_handler(std::span<std::byte> /*record*/) {
  prepare_backtraces();  // of what tasks throw
}

#endif

}  // namespace troupe::detail
