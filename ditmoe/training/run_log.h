#pragma once

#include <cstdint>
#include <fstream>
#include <string>

namespace ditmoe::training {

// Means over the steps since the last line.
struct LogLine {
  int64_t step = 0;  // updates done
  double loss = 0;   // what is trained on, balance losses included
  double mse = 0;
  double vb = 0;
  double balance = 0;        // sum over blocks, factor included
  double gradient_norm = 0;  // before clipping
  double lr = 0;
  double images_per_second = 0;
  double max_load = 0;  // busiest expert's tokens over the mean, worst block; 1 is perfect
  double min_load = 0;  // idlest expert's, worst block; 0 is a dead expert
};

// The run's history, once as JSON lines (log.jsonl) and once as a table (log.csv).
class RunLog {
 public:
  // Continues the files in run_folder, dropping lines of steps after steps_done: they will come
  // again.
  RunLog(const std::string& run_folder, int64_t steps_done);

  void append(const LogLine& line);

 private:
  std::ofstream json_;
  std::ofstream csv_;
};

}  // namespace ditmoe::training
