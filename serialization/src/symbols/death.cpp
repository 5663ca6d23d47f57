// SPDX-License-Identifier: BSD-3-Clause
#include "troupe/death.hpp"

#include <csignal>
#include <span>

namespace troupe {
namespace {

struct known_signal {
  int number;
  std::string_view name;
};

// The numbers differ between machines, so the names come from the platform's own macros; the ones
// ISO C does not know are in the table where <csignal> offers them.
constexpr known_signal signal_names[] = {
    {SIGABRT, "SIGABRT"},     {SIGFPE, "SIGFPE"},   {SIGILL, "SIGILL"},       {SIGINT, "SIGINT"},
    {SIGSEGV, "SIGSEGV"},     {SIGTERM, "SIGTERM"},
#ifdef SIGKILL
    {SIGKILL, "SIGKILL"},     {SIGHUP, "SIGHUP"},   {SIGQUIT, "SIGQUIT"},     {SIGTRAP, "SIGTRAP"},
    {SIGBUS, "SIGBUS"},       {SIGUSR1, "SIGUSR1"}, {SIGUSR2, "SIGUSR2"},     {SIGPIPE, "SIGPIPE"},
    {SIGALRM, "SIGALRM"},     {SIGCHLD, "SIGCHLD"}, {SIGCONT, "SIGCONT"},     {SIGSTOP, "SIGSTOP"},
    {SIGTSTP, "SIGTSTP"},     {SIGTTIN, "SIGTTIN"}, {SIGTTOU, "SIGTTOU"},     {SIGURG, "SIGURG"},
    {SIGXCPU, "SIGXCPU"},     {SIGXFSZ, "SIGXFSZ"}, {SIGVTALRM, "SIGVTALRM"}, {SIGPROF, "SIGPROF"},
    {SIGSYS, "SIGSYS"},
#endif
#ifdef SIGSTKFLT
    {SIGSTKFLT, "SIGSTKFLT"},
#endif
#ifdef SIGPOLL
    {SIGPOLL, "SIGPOLL"},
#endif
#ifdef SIGWINCH
    {SIGWINCH, "SIGWINCH"},
#endif
#ifdef SIGPWR
    {SIGPWR, "SIGPWR"},
#endif
};

struct known_code {
  int code;
  std::string_view text;
};

#ifdef SEGV_MAPERR
constexpr known_code segv_codes[] = {
    {SEGV_MAPERR, "SEGV_MAPERR: address not mapped"},
    {SEGV_ACCERR, "SEGV_ACCERR: no permission for the address"},
#ifdef SEGV_BNDERR
    {SEGV_BNDERR, "SEGV_BNDERR: bounds check failed"},
    {SEGV_PKUERR, "SEGV_PKUERR: refused by a protection key"},
#endif
#ifdef SI_KERNEL
    {SI_KERNEL, "SI_KERNEL: sent by the kernel, as for an address that cannot exist"},
#endif
};
constexpr known_code bus_codes[] = {
    {BUS_ADRALN, "BUS_ADRALN: misaligned address"},
    {BUS_ADRERR, "BUS_ADRERR: no memory behind the address, as beyond the end of a mapped file"},
    {BUS_OBJERR, "BUS_OBJERR: hardware error of the object"},
#ifdef BUS_MCEERR_AR
    {BUS_MCEERR_AR, "BUS_MCEERR_AR: hardware memory error"},
#endif
};
constexpr known_code fpe_codes[] = {
    {FPE_INTDIV, "FPE_INTDIV: integer division by zero"},
    {FPE_INTOVF, "FPE_INTOVF: integer overflow"},
    {FPE_FLTDIV, "FPE_FLTDIV: floating-point division by zero"},
    {FPE_FLTOVF, "FPE_FLTOVF: floating-point overflow"},
    {FPE_FLTUND, "FPE_FLTUND: floating-point underflow"},
    {FPE_FLTRES, "FPE_FLTRES: inexact floating-point result"},
    {FPE_FLTINV, "FPE_FLTINV: invalid floating-point operation"},
    {FPE_FLTSUB, "FPE_FLTSUB: subscript out of range"},
};
constexpr known_code ill_codes[] = {
    {ILL_ILLOPC, "ILL_ILLOPC: illegal opcode"},
    {ILL_ILLOPN, "ILL_ILLOPN: illegal operand, as of __builtin_trap"},
    {ILL_ILLADR, "ILL_ILLADR: illegal addressing mode"},
    {ILL_ILLTRP, "ILL_ILLTRP: illegal trap"},
    {ILL_PRVOPC, "ILL_PRVOPC: privileged opcode"},
    {ILL_PRVREG, "ILL_PRVREG: privileged register"},
    {ILL_COPROC, "ILL_COPROC: coprocessor error"},
    {ILL_BADSTK, "ILL_BADSTK: internal stack error"},
};
constexpr known_code sys_codes[] = {
#ifdef SYS_SECCOMP
    {SYS_SECCOMP, "SYS_SECCOMP: system call refused by a seccomp filter"},
#endif
    {1, "system call refused by a seccomp filter"},
};
constexpr known_code any_codes[] = {
    {SI_USER, "SI_USER: sent by kill"},
    {SI_QUEUE, "SI_QUEUE: sent by sigqueue"},
    {SI_TIMER, "SI_TIMER: sent by a timer"},
#ifdef SI_TKILL
    {SI_TKILL, "SI_TKILL: raised by the process itself"},
#endif
#ifdef SI_KERNEL
    {SI_KERNEL, "SI_KERNEL: sent by the kernel"},
#endif
};

std::span<const known_code> codes_of(int signal) {
  switch (signal) {
    case SIGSEGV:
      return segv_codes;
    case SIGBUS:
      return bus_codes;
    case SIGFPE:
      return fpe_codes;
    case SIGILL:
      return ill_codes;
    case SIGSYS:
      return sys_codes;
    default:
      return {};
  }
}
#else
constexpr known_code any_codes[] = {{0, "sent by a program"}};
std::span<const known_code> codes_of(int) {
  return {};
}
#endif

}  // namespace

std::string_view to_string(oom_kill verdict) noexcept {
  switch (verdict) {
    case oom_kill::no:
      return "no";
    case oom_kill::yes:
      return "yes";
    case oom_kill::unknown:
      break;
  }
  return "unknown";
}

std::string signal_name(int signal) {
  for (const known_signal& known : signal_names) {
    if (known.number == signal) {
      return std::string{known.name};
    }
  }
  return "signal " + std::to_string(signal);
}

std::string describe_signal_code(int signal, int code) {
  for (const auto& table : {codes_of(signal), std::span<const known_code>{any_codes}}) {
    for (const known_code& known : table) {
      if (known.code == code) {
        return std::string{known.text};
      }
    }
  }
  return "si_code " + std::to_string(code);
}

std::string limit_of_signal(int signal) {
#ifdef SIGXCPU
  if (signal == SIGXCPU) {
    return "RLIMIT_CPU: CPU time";
  }
  if (signal == SIGXFSZ) {
    return "RLIMIT_FSIZE: size of a file";
  }
#endif
  static_cast<void>(signal);
  return {};
}

}  // namespace troupe
