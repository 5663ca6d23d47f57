// SPDX-License-Identifier: BSD-3-Clause
// The program that closed_streams_test starts with standard streams closed:
//
//     closed_streams_victim REPORT CLOSED_AS_TEXT [later]
//
// Does with them closed what programs do, and appends to REPORT a line for each thing that went
// wrong. CLOSED_AS_TEXT names the numbers that are closed, "02" say; with `later` it closes them
// itself, in the middle. Ends with 0 if it came to its end.
#include "troupe/connection.hpp"
#include "troupe/detail/descriptor.hpp"
#include "troupe/executor.hpp"
#include "troupe/future.hpp"
#include "troupe/listener.hpp"
#include "troupe/pool.hpp"
#include "troupe/process.hpp"
#include "troupe/queue.hpp"
#include "troupe/shared_memory.hpp"
#include "troupe/system.hpp"
#include "troupe/task.hpp"
#include "troupe/thread_pool.hpp"
#include "troupe/value.hpp"

#include "support/eventually.hpp"
#include "support/processes.hpp"
#include "support/temp_dir.hpp"
#include "support/unique_name.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <asio/steady_timer.hpp>
#include <asio/this_coro.hpp>
#include <asio/use_awaitable.hpp>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <iostream>
#include <optional>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

namespace troupe::test {
namespace {

using namespace std::chrono_literals;

std::string report_path;
std::string closed_numbers;

void complain(const std::string& line) {
  const detail::descriptor file{
      ::open(report_path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600)};
  const std::string text = line + "\n";
  if (::write(file.number(), text.data(), text.size()) != static_cast<ssize_t>(text.size())) {
    ::_exit(9);
  }
}

void expect(bool true_one, const std::string& what) {
  if (!true_one) {
    complain(what);
  }
}

std::string file_of(const std::string& process, int number) {
  std::error_code none;
  return std::filesystem::read_symlink("/proc/" + process + "/fd/" + std::to_string(number), none)
      .string();
}

/// In the program: what was closed is closed. Another thread's system call may just have returned a
/// number that is about to be changed for a higher one.
void look_at_program(const std::string& when) {
  for (const char number : closed_numbers) {
    std::string file;
    const bool is_closed = eventually([&] {
      file = file_of("self", number - '0');
      return file.empty();
    });
    expect(is_closed, when + ": the program has " + file + " as " + number);
  }
}

/// In the library's processes: what was closed leads nowhere. A worker's stderr is a pipe to the
/// program.
void look_at_children(const std::string& when) {
  const std::vector<process_entry> all = our_processes();
  // Those of the test that started this program carry the same mark.
  const auto is_child = [&](const process_entry& one, int of) { return one.parent == of; };
  const auto server = std::find_if(all.begin(), all.end(), [&](const process_entry& one) {
    return one.name == "troupe-server" && is_child(one, ::getpid());
  });
  expect(server != all.end(), when + ": there is no fork server");
  for (const process_entry& child : all) {
    if (child.state == 'Z' || !child.name.starts_with("troupe-") ||
        !(is_child(child, ::getpid()) || (server != all.end() && is_child(child, server->pid)))) {
      continue;
    }
    for (const char number : closed_numbers) {
      std::string file;
      const auto is_harmless = [&] {
        file = file_of(std::to_string(child.pid), number - '0');
        return file == "/dev/null" || file.empty() ||
               (number == '2' && child.name != "troupe-server" && file.starts_with("pipe:"));
      };
      const bool harmless = eventually(is_harmless);
      expect(harmless, when + ": " + child.name + " has " + file + " as " + number);
    }
  }
}

int talk(int x) {
  std::printf("progress of %d\n", x);
  std::fflush(stdout);
  std::fprintf(stderr, "complaint of %d\n", x);
  std::cerr << "another\n";
  static_cast<void>(std::getchar());
  return x + 1;
}

task<int> slow(int x) {
  asio::steady_timer timer{co_await asio::this_coro::executor, 1ms};
  co_await timer.async_wait(asio::use_awaitable);
  talk(x);
  co_return x * 2;
}

std::vector<std::byte> large(int bytes) {
  return std::vector<std::byte>(static_cast<std::size_t>(bytes), std::byte{7});
}

void greet(queue<std::string> q, connection c) {
  std::puts("in a process");
  std::fflush(stdout);
  q.put("hello");
  c.send(std::string{"here"});
}

void use_pools(start_method method) {
  const std::string name{to_string(method)};
  pool_options how;
  how.workers = 2;
  how.start = method;
  how.concurrency = 4;
  pool p{how};
  talk(0);  // as the main program
  for (int i = 0; i < 20; ++i) {
    expect(p.apply(talk, i) == i + 1, name + ": a wrong result");
  }
  look_at_program(name + " after tasks");
  std::vector<future<int>> coroutines;
  for (int i = 0; i < 8; ++i) {
    coroutines.push_back(p.apply_async(slow, i));
  }
  for (int i = 0; i < 8; ++i) {
    expect(coroutines[static_cast<std::size_t>(i)].get() == 2 * i, name + ": a wrong coroutine");
  }
  expect(p.apply(large, 1 << 20).size() == 1 << 20, name + ": a wrong large result");
  look_at_program(name + " after coroutines");
  look_at_children(name);
  try {
    p.apply([](int) -> int { ::abort(); }, 1);
    complain(name + ": a dead worker's task returned");
  } catch (const worker_lost& lost) {
    static_cast<void>(lost.report());  // looks symbols up
  }
  look_at_program(name + " after a death");
}

void use_process(start_method method) {
  const std::string name{to_string(method)};
  queue<std::string> q;
  auto [here, there] = pipe();
  process_options how;
  how.start = method;
  process one{how, greet, q, there};
  one.start();
  expect(q.get() == "hello", name + ": a wrong item");
  expect(here.recv<std::string>() == "here", name + ": a wrong message");
  one.join();
  expect(one.exit_status() == exit_status{exited{0}}, name + ": a process failed");
  look_at_program(name + " after a process");
}

void use_objects() {
  const temp_dir dir;
  listener door{(dir.path() / "door").string()};
  std::thread client{[&] { connect(door.address()).send(5); }};
  connection came = door.accept();
  expect(came.recv<int>() == 5, "a wrong message through a listener");
  client.join();
  queue<connection> connections;
  {
    auto [a, b] = pipe();
    connections.put(a);
    connection again = connections.get();
    again.send(3);
    expect(b.recv<int>() == 3, "a wrong message through a pipe that was in a queue");
    b.send_descriptor(came.native_handle());
    const int number = again.recv_descriptor();
    expect(number > 2, "a descriptor that came has a low number");
    ::close(number);
    look_at_program("with a pipe");
  }
  const shared_memory memory{1000, {.name = test::unique_name("closed-streams")}};
  expect(shared_memory::open(memory.name()).size() == 1000, "wrong named memory");
  look_at_program("with objects");
}

void use_threads() {
  thread_pool_options how;
  how.workers = 2;
  how.concurrency = 4;
  thread_pool threads{how};
  std::vector<future<int>> coroutines;
  for (int i = 0; i < 8; ++i) {
    coroutines.push_back(threads.apply_async(slow, i));
  }
  look_at_program("with threads");
  for (int i = 0; i < 8; ++i) {
    expect(coroutines[static_cast<std::size_t>(i)].get() == 2 * i, "a wrong coroutine of threads");
  }
  look_at_program("after coroutines of threads");
}

int run(bool later) {
  if (later) {
    {
      const pool p{{.workers = 1}};
    }
    for (const char number : closed_numbers) {
      ::close(number - '0');
    }
  }
  look_at_program("with a system");
  for (const start_method method :
       {start_method::forkserver, start_method::spawn, start_method::fork}) {
    use_pools(method);
    use_process(method);
  }
  use_objects();
  use_threads();
  look_at_program("at the end");
  return 0;
}

}  // namespace
}  // namespace troupe::test

int main(int argc, char** argv) {
  troupe::system system{argc, argv};
  if (argc < 3) {
    return 2;
  }
  troupe::test::report_path = argv[1];
  troupe::test::closed_numbers = argv[2];
  try {
    return troupe::test::run(argc > 3);
  } catch (const std::exception& problem) {
    troupe::test::complain(std::string{"an exception: "} + problem.what());
    return 1;
  }
}
