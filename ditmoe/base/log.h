#pragma once

#include <string>
#include <utility>

#include <fmt/format.h>

namespace ditmoe::base {

// How much a program tells on stderr besides errors.
enum class LogLevel {
  kQuiet,    // warnings only, no progress
  kNormal,   // what was done, progress
  kVerbose,  // also how: files opened, implementations chosen
};

// Sends log lines to stderr, in colour on a terminal. Called once, before threads start; without it
// spdlog's own default (stdout) is used.
void start_logging(LogLevel level);

// Whether information and progress are wanted.
bool is_quiet();

void log_line_debug(const std::string& message);
void log_line_info(const std::string& message);
void log_line_warning(const std::string& message);

template <typename... Args>
void log_debug(fmt::format_string<Args...> format, Args&&... args) {
  log_line_debug(fmt::format(format, std::forward<Args>(args)...));
}

template <typename... Args>
void log_info(fmt::format_string<Args...> format, Args&&... args) {
  log_line_info(fmt::format(format, std::forward<Args>(args)...));
}

template <typename... Args>
void log_warning(fmt::format_string<Args...> format, Args&&... args) {
  log_line_warning(fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace ditmoe::base
