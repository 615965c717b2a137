#pragma once

#include <stdexcept>
#include <string>
#include <utility>

#include <fmt/format.h>

namespace ditmoe::base {

// What went wrong decides the exit code of a program.
enum class ErrorKind {
  kBadInput,  // wrong usage, a bad file, a bad recipe: the user can mend it (exit 2)
  kFailure,   // the machine or the run failed: disk full, non-finite loss (exit 1)
};

// Every error a user may see. The message is one line that names the file, the place in it, what
// was expected and what was found.
class Error : public std::runtime_error {
 public:
  Error(ErrorKind kind, const std::string& message) : std::runtime_error(message), kind_(kind) {}

  ErrorKind kind() const { return kind_; }

 private:
  ErrorKind kind_;
};

// Throws Error{kBadInput} with a formatted message.
template <typename... Args>
[[noreturn]] void bad_input(fmt::format_string<Args...> format, Args&&... args) {
  throw Error(ErrorKind::kBadInput, fmt::format(format, std::forward<Args>(args)...));
}

// Throws Error{kFailure} with a formatted message.
template <typename... Args>
[[noreturn]] void failure(fmt::format_string<Args...> format, Args&&... args) {
  throw Error(ErrorKind::kFailure, fmt::format(format, std::forward<Args>(args)...));
}

// Prints the broken invariant and aborts. For bugs only, never for bad input.
[[noreturn]] void assertion_failed(const char* condition, const char* file, int line);

}  // namespace ditmoe::base

// Checked in every build: an invariant of ours, not of the input.
#define DITMOE_ASSERT(condition) \
  ((condition) ? void() : ::ditmoe::base::assertion_failed(#condition, __FILE__, __LINE__))
