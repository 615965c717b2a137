#include "ditmoe/base/progress.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <sys/ioctl.h>
#include <unistd.h>
#include <utility>

#include <fmt/format.h>

#include "ditmoe/base/log.h"

namespace ditmoe::base {
namespace {

constexpr double kTerminalInterval = 0.1;  // seconds between drawings
constexpr double kPlainInterval = 5.0;
constexpr double kRateMemory = 30.0;  // seconds over which the rate forgets
constexpr int kBarWidth = 24;

int terminal_columns() {
  winsize size{};
  if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0) return 80;
  return size.ws_col;
}

std::string bar(double fraction, int width) {
  const int filled = static_cast<int>(fraction * width);
  return fmt::format("[{}{}]", std::string(filled, '#'), std::string(width - filled, '.'));
}

}  // namespace

std::string format_duration(double seconds) {
  const auto whole = static_cast<int64_t>(std::llround(std::max(0.0, seconds)));
  if (whole < 60) return fmt::format("{} s", whole);
  if (whole < 3600) return fmt::format("{} min {:02} s", whole / 60, whole % 60);
  return fmt::format("{} h {:02} min", whole / 3600, whole % 3600 / 60);
}

std::string format_progress(const ProgressLine& line, int bar_width) {
  const double fraction =
      line.total > 0 ? std::clamp(static_cast<double>(line.done) / line.total, 0.0, 1.0) : 0.0;
  std::string text = line.title;
  if (bar_width > 0) text += " " + bar(fraction, bar_width);
  text += fmt::format("  {}/{} {}  {}%",
                      line.done,
                      line.total,
                      line.unit,
                      static_cast<int>(std::floor(100 * fraction)));
  if (line.per_second > 0 && std::isfinite(line.per_second)) {
    text += fmt::format("  {:.3g} {}/s", line.per_second, line.unit);
    if (line.done < line.total) {
      text += "  ETA " + format_duration((line.total - line.done) / line.per_second);
    }
  }
  if (!line.note.empty()) text += "  " + line.note;
  return text;
}

Progress::Progress(std::string title, int64_t total, std::string unit, int64_t start)
    : line_{std::move(title), start, total, std::move(unit), 0, ""},
      visible_(!is_quiet()),
      terminal_(isatty(STDERR_FILENO) != 0),
      updated_(Clock::now()),
      drawn_(updated_) {
  if (terminal_) draw(false);
}

Progress::~Progress() { finish(); }

void Progress::update(int64_t done, const std::string& note) {
  const Clock::time_point now = Clock::now();
  const double elapsed = std::chrono::duration<double>(now - updated_).count();
  const double kept = std::exp(-elapsed / kRateMemory);
  recent_done_ = recent_done_ * kept + static_cast<double>(done - line_.done);
  recent_seconds_ = recent_seconds_ * kept + elapsed;
  updated_ = now;
  line_.done = done;
  line_.note = note;
  line_.per_second = recent_seconds_ > 0 ? recent_done_ / recent_seconds_ : 0;
  const double undrawn = std::chrono::duration<double>(now - drawn_).count();
  if (undrawn >= (terminal_ ? kTerminalInterval : kPlainInterval)) draw(false);
}

void Progress::finish() {
  if (std::exchange(finished_, true)) return;
  if (terminal_ || drawn_done_ != line_.done) draw(true);
}

void Progress::draw(bool last) {
  if (!visible_) return;
  drawn_ = Clock::now();
  drawn_done_ = line_.done;
  std::string text = format_progress(line_, terminal_ ? kBarWidth : 0);
  if (terminal_) {
    // A wrapped line could not be overwritten. The cursor goes back to the start of the line so
    // that a log line written meanwhile takes the bar's place.
    text = text.substr(0, static_cast<size_t>(terminal_columns() - 1));
    text += last ? "\x1b[K\n" : "\x1b[K\r";
  } else {
    text += "\n";
  }
  std::fputs(text.c_str(), stderr);
  std::fflush(stderr);
}

}  // namespace ditmoe::base
