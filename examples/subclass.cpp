// SPDX-License-Identifier: BSD-3-Clause
//
// A process as a class: its members cross, queues among them, and run() is the process.
//
// Prints:
//   >> HELLO
//   >> WORLD
//   the upper-caser ended with exit code 0

#include "troupe/process.hpp"
#include "troupe/queue.hpp"
#include "troupe/system.hpp"

#include <algorithm>
#include <cctype>
#include <iostream>
#include <string>
#include <utility>

class upper_caser : public troupe::process_base<upper_caser> {
 public:
  upper_caser() = default;  // in the new process, before serialize fills it
  upper_caser(std::string prefix, troupe::queue<std::string> in, troupe::queue<std::string> out)
      : prefix_{std::move(prefix)}, in_{std::move(in)}, out_{std::move(out)} {}

  template <class Archive>
  void serialize(Archive& ar) {
    ar(prefix_, in_, out_);
  }

  void run() override {
    while (auto text = in_.get_optional()) {  // nothing: closed, and all was read
      std::transform(text->begin(), text->end(), text->begin(),
                     [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
      out_.put(prefix_ + *text);
    }
  }

 private:
  std::string prefix_;
  troupe::queue<std::string> in_;
  troupe::queue<std::string> out_;
};

int main(int argc, char** argv) {
  troupe::system system{argc, argv};
  troupe::queue<std::string> in;
  troupe::queue<std::string> out;
  upper_caser process{">> ", in, out};
  process.start();
  for (const char* word : {"hello", "world"}) {
    in.put(word);
    std::cout << out.get() << '\n';
  }
  in.close();
  process.join();
  std::cout << "the upper-caser ended with " << troupe::to_string(*process.exit_status()) << '\n';
}
