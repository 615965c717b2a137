#pragma once

#include <chrono>
#include <cstdint>

#include "ditmoe/training/expert_watch.h"
#include "ditmoe/training/run_log.h"
#include "ditmoe/training/updater.h"

namespace ditmoe::training {

// Gathers what happens between two lines of the log.
class StepLog {
 public:
  void add(const StepResult& step, int64_t images);

  // A step whose update was left out.
  void add_fault() { ++faults_; }

  void add_wait(double seconds) { wait_seconds_ += seconds; }

  // The means, and begins anew.
  LogLine take(int64_t step, double lr);

 private:
  using Clock = std::chrono::steady_clock;

  StepResult sum_;
  double max_gradient_norm_ = 0;
  double wait_seconds_ = 0;
  int64_t steps_ = 0, images_ = 0, faults_ = 0;
  ExpertWatch experts_;
  Clock::time_point since_ = Clock::now();
};

}  // namespace ditmoe::training
