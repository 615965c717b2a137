#pragma once

#include <concepts>
#include <functional>
#include <memory>
#include <ostream>
#include <string>
#include <utility>

#include "ditmoe/base/function_ref.h"

// The frame for files that have to be refused. A parser's test has a table of MalformedCase and
//
//   class XMalformedTest : public testing::TestWithParam<MalformedCase> {};
//   TEST_P(XMalformedTest, IsRefused) { test::expect_refused(GetParam(), read_x); }
//   INSTANTIATE_TEST_SUITE_P(X, XMalformedTest, testing::ValuesIn(cases()), test::name_of_case);

namespace ditmoe::formats::test {

// The bytes of a file: given, or made when they are asked for where they are many, as every test
// of a table is a process that makes the table. Copies share them.
class Content {
 public:
  // NOLINTBEGIN(google-explicit-constructor): tables are written without naming the class.
  Content(std::string bytes) : Content([bytes = std::move(bytes)] { return bytes; }) {}

  Content(const char* text) : Content(std::string(text)) {}

  template <std::invocable Make>
  Content(Make make) : make_(std::make_shared<std::function<std::string()>>(std::move(make))) {}

  // NOLINTEND(google-explicit-constructor)

  std::string operator()() const { return (*make_)(); }

 private:
  std::shared_ptr<const std::function<std::string()>> make_;
};

// A damaged or hostile file and what the error about it must say.
struct MalformedCase {
  std::string name;
  Content file;
  std::string message;
};

inline void PrintTo(const MalformedCase& malformed, std::ostream* out) { *out << malformed.name; }

// Names the instances of a parameterised test.
inline const auto name_of_case = [](const auto& info) { return info.param.name; };

// Memory that reading a file may take beyond the file's size before it is known to be good.
inline constexpr size_t kMaxExtraBytes = size_t{64} << 20;

// Writes the file and expects open(path) to throw bad_input, in one line that begins with the
// path and contains the message, having never held more than the file's size and kMaxExtraBytes.
// What takes longer than 30 s ends the program.
void expect_refused(const MalformedCase& malformed,
                    base::FunctionRef<void(const std::string& path)> open);

// The same of what stands at path already; file_bytes is its size.
void expect_refused_at(const std::string& path,
                       size_t file_bytes,
                       const std::string& message,
                       base::FunctionRef<void(const std::string& path)> open);

// Runs action and expects that it never holds more than `most` bytes of new memory.
void expect_memory_below(size_t most, base::FunctionRef<void()> action);

}  // namespace ditmoe::formats::test
