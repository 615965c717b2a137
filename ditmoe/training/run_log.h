#pragma once

#include <cstdint>
#include <fstream>
#include <memory>
#include <optional>
#include <string>

#include <torch/types.h>

#include "ditmoe/formats/png.h"
#include "ditmoe/formats/tfevents.h"

namespace ditmoe::training {

// Means over the steps since the last line, unless said otherwise.
struct LogLine {
  int64_t step = 0;  // updates done
  double loss = 0;   // what is trained on, balance losses included
  double mse = 0;
  double vb = 0;
  double balance = 0;        // sum over blocks, factor included
  double gradient_norm = 0;  // before clipping
  double lr = 0;
  double images_per_second = 0;
  double max_load = 0;           // busiest expert's tokens over the mean, worst block; 1 is perfect
  double min_load = 0;           // idlest expert's, worst block; 0 is a dead expert
  double data_wait = 0;          // share of the time spent waiting for data
  double max_gradient_norm = 0;  // the largest
  int64_t faults = 0;            // steps left out or gone back behind since the last line
  std::optional<double> held_out_loss;  // measured at this step
  at::Tensor expert_loads_LE;           // f64, over the mean; undefined without experts
  at::Tensor expert_gradient_norms_LE;  // f64, of this step's gradient
};

// The run's history: JSON lines (log.jsonl), a table (log.csv) and TensorBoard's event files
// (tensorboard/), which show images too. A log that cannot be written is a warning.
class RunLog {
 public:
  // Continues the files in run_folder, dropping what is of steps after steps_done: it will come
  // again.
  RunLog(const std::string& run_folder, int64_t steps_done);

  void append(const LogLine& line);

  // Writes `<run>/<folder>/step-00001000.png`, and shows it under that folder's name.
  void image(const std::string& folder, int64_t step, const formats::Image& image);

 private:
  void append_events(const LogLine& line);

  std::string run_folder_;
  std::ofstream json_;
  std::ofstream csv_;
  std::unique_ptr<formats::EventWriter> events_;
};

}  // namespace ditmoe::training
