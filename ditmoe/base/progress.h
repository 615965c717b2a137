#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace ditmoe::base {

// "42 s", "3 min 05 s", "2 h 07 min".
std::string format_duration(double seconds);

// One line of progress as a Progress shows it.
struct ProgressLine {
  std::string title;
  int64_t done = 0;
  int64_t total = 0;
  std::string unit;       // plural: "images", "steps"
  double per_second = 0;  // 0 while unknown
  std::string note;
};

// "train  1200/6000 images  20%  41.3 images/s  ETA 1 min 56 s  loss 0.031". With bar_width > 0 a
// bar of that many characters stands after the title.
std::string format_progress(const ProgressLine& line, int bar_width);

// Shows on stderr how far a long run is: a live bar on a terminal, else a line every few seconds,
// and nothing when logging is quiet. Rates are of the last half minute or so. Used from one thread.
class Progress {
 public:
  // start: what was done before this run (a resumed training), left out of the rate.
  Progress(std::string title, int64_t total, std::string unit, int64_t start = 0);

  // Finishes, if the caller has not.
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  // Cheap: draws only when the last drawing is old enough.
  void update(int64_t done, const std::string& note = "");

  // Leaves the last state on its own line. Later calls do nothing.
  void finish();

 private:
  using Clock = std::chrono::steady_clock;

  void draw(bool last);

  ProgressLine line_;
  bool visible_ = false;
  bool terminal_ = false;
  bool finished_ = false;
  Clock::time_point updated_;
  Clock::time_point drawn_;
  int64_t drawn_done_ = -1;
  double recent_done_ = 0;     // both fade with the same time constant;
  double recent_seconds_ = 0;  // their ratio is the recent rate
};

}  // namespace ditmoe::base
