#include "ditmoe/training/step_log.h"

#include <algorithm>
#include <utility>

#include <torch/torch.h>

namespace ditmoe::training {

void StepLog::add(const StepResult& step, int64_t images) {
  sum_.loss += step.loss;
  sum_.mse += step.mse;
  sum_.vb += step.vb;
  sum_.balance += step.balance;
  sum_.gradient_norm += step.gradient_norm;
  max_gradient_norm_ = std::max(max_gradient_norm_, step.gradient_norm);
  if (step.counts_LE.defined()) experts_.add(step.counts_LE);
  images_ += images;
  ++steps_;
}

LogLine StepLog::take(int64_t step, double lr) {
  const double steps = static_cast<double>(std::max<int64_t>(steps_, 1));
  const Clock::time_point now = Clock::now();
  const double seconds = std::chrono::duration<double>(now - std::exchange(since_, now)).count();
  LogLine line;
  line.step = step;
  line.loss = sum_.loss / steps;
  line.mse = sum_.mse / steps;
  line.vb = sum_.vb / steps;
  line.balance = sum_.balance / steps;
  line.gradient_norm = sum_.gradient_norm / steps;
  line.max_gradient_norm = std::exchange(max_gradient_norm_, 0);
  line.lr = lr;
  line.images_per_second = static_cast<double>(std::exchange(images_, 0)) / seconds;
  line.data_wait = std::exchange(wait_seconds_, 0) / seconds;
  line.faults = std::exchange(faults_, 0);
  if (!experts_.empty()) {
    line.expert_loads_LE = experts_.loads();
    line.max_load = line.expert_loads_LE.max().item<double>();
    line.min_load = line.expert_loads_LE.min().item<double>();
    experts_.next_window();
  }
  sum_ = {};
  steps_ = 0;
  return line;
}

}  // namespace ditmoe::training
