// SPDX-License-Identifier: BSD-3-Clause
// TROUPE_ROLE in the environment of a program that no troupe has executed. The program is
// role_victim.cpp, whose path the build gives.
#include "troupe/detail/descriptor.hpp"

#include "support/run_program.hpp"
#include "support/temp_dir.hpp"

#include <gtest/gtest.h>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <filesystem>
#include <string>

namespace troupe::test {
namespace {

using detail::descriptor;

/// A descriptor that the next program inherits, with a number above those that this test has.
descriptor to_inherit(int number) {
  return descriptor{::fcntl(number, F_DUPFD, 10)};
}

struct Role : testing::Test {
  Role() {
    std::array<int, 2> pair{};
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair.data()), 0);
    here_ = descriptor{pair[0]};
    const descriptor there{pair[1]};
    socket_ = to_inherit(there.number());
    const descriptor memory{::memfd_create("role", MFD_CLOEXEC)};
    memory_ = to_inherit(memory.number());
    const descriptor file{::open("/dev/null", O_RDWR | O_CLOEXEC)};
    file_ = to_inherit(file.number());
  }

  static std::string text(const descriptor& one) { return std::to_string(one.number()); }
  [[nodiscard]] std::string worker_role() const {
    return "worker:7:" + text(socket_) + ":" + text(memory_);
  }
  static std::string run(const std::string& role) {
    return run_program({TROUPE_ROLE_VICTIM}, {"TROUPE_ROLE=" + role}).output;
  }

  descriptor here_;    ///< the parent's end
  descriptor socket_;  ///< the worker's
  descriptor memory_;
  descriptor file_;
};

TEST_F(Role, IsTakenWithTheEndsOfAChannel) {
  EXPECT_EQ(run(worker_role()), "worker 7\n");
}

TEST_F(Role, IsRefusedWithDescriptorsOfAnotherKind) {
  for (const std::string& role :
       {"worker:7:" + text(file_) + ":" + text(memory_),
        "worker:7:" + text(socket_) + ":" + text(file_), "worker:7:0:" + text(memory_),
        "worker:7:" + text(socket_) + ":999", "worker:7:4294967300:" + text(memory_),
        "process:7:" + text(memory_) + ":" + text(socket_), "server:" + text(file_) + ":1",
        "server:" + text(memory_) + ":1"}) {
    const std::string output = run(role);
    EXPECT_TRUE(output.starts_with("refused: ")) << role << ": " << output;
    EXPECT_NE(output.find("TROUPE_ROLE=" + role), std::string::npos) << output;
  }
}

TEST_F(Role, IsRefusedIfItIsNone) {
  for (const std::string role :
       {"", "x", "worker", "worker:", "worker:7:8", "server:5", "worker:7:8:nine", "king:7:8:9"}) {
    EXPECT_TRUE(run(role).starts_with("refused: ")) << role;
  }
}

/// A program that runs with another group's rights.
struct RoleOfASetGidProgram : Role {
  void SetUp() override {
    if (::geteuid() != 0) {
      GTEST_SKIP() << "only root can make a program with the rights of another group";
    }
    ASSERT_EQ(::chmod(folder_.path().c_str(), 0755), 0);
    program_ = (folder_.path() / "program").string();
    std::filesystem::copy_file(TROUPE_ROLE_VICTIM, program_);
    ASSERT_EQ(::chown(program_.c_str(), 0, 65534), 0);
    ASSERT_EQ(::chmod(program_.c_str(), 02755), 0);
    if (run_program({program_}).output != "the program with other rights, without the variable\n") {
      GTEST_SKIP() << "programs get no rights here by being executed";
    }
  }

  temp_dir folder_;
  std::string program_;
};

TEST_F(RoleOfASetGidProgram, IsNotObeyed) {
  for (const std::string& role :
       {worker_role(), "server:" + text(socket_) + ":" + std::to_string(::getpid())}) {
    const run_result got = run_program({program_}, {"TROUPE_ROLE=" + role});
    EXPECT_EQ(got.output, "the program with other rights, without the variable\n") << role;
  }
}

TEST_F(RoleOfASetGidProgram, IsNotGivenByIt) {
  const std::string output = run_program({program_, "execute"}).output;
  EXPECT_NE(output.find("worker: refused\n"), std::string::npos) << output;
  EXPECT_NE(output.find("server: cannot start the fork server: "), std::string::npos) << output;
  EXPECT_NE(output.find("Make its troupe::system before any thread"), std::string::npos) << output;
}

}  // namespace
}  // namespace troupe::test
