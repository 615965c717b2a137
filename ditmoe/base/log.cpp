#include "ditmoe/base/log.h"

#include <unistd.h>

#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>

#include "ditmoe/base/quoted.h"

namespace ditmoe::base {
namespace {

spdlog::level::level_enum spdlog_level(LogLevel level) {
  switch (level) {
    case LogLevel::kQuiet:
      return spdlog::level::warn;
    case LogLevel::kNormal:
      return spdlog::level::info;
    case LogLevel::kVerbose:
      return spdlog::level::debug;
  }
  return spdlog::level::info;
}

}  // namespace

void start_logging(LogLevel level) {
  auto sink = std::make_shared<spdlog::sinks::stderr_color_sink_mt>();
  auto logger = std::make_shared<spdlog::logger>("ditmoe", std::move(sink));
  logger->set_level(spdlog_level(level));
  // A progress bar leaves the cursor at the start of its line: erase the bar before writing there.
  const std::string erase_line = isatty(STDERR_FILENO) != 0 ? "\x1b[K" : "";
  logger->set_pattern(erase_line + "%T %^%l%$: %v");
  spdlog::set_default_logger(std::move(logger));
}

bool is_quiet() { return !spdlog::should_log(spdlog::level::info); }

// Names of files may hold anything; a message is one line.
void log_line_debug(const std::string& message) { spdlog::debug(escaped(message)); }

void log_line_info(const std::string& message) { spdlog::info(escaped(message)); }

void log_line_warning(const std::string& message) { spdlog::warn(escaped(message)); }

}  // namespace ditmoe::base
