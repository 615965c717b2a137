#pragma once

#include <chrono>
#include <vector>

#include "ditmoe/base/json.h"

namespace ditmoe::apps {

// Repeated timings of one thing.
class Timings {
 public:
  // Runs work and keeps the time it took.
  template <typename Work>
  void measure(const Work& work) {
    const auto start = std::chrono::steady_clock::now();
    work();
    seconds_.push_back(
        std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }

  size_t count() const { return seconds_.size(); }

  double total() const;

  // Interpolated between the two nearest, quantile in [0, 1]; at least one timing.
  double quantile(double quantile) const;

  double median() const { return quantile(0.5); }

  // {"repetitions", "median_ms", "p10_ms", "p90_ms"}
  base::Json json() const;

 private:
  std::vector<double> seconds_;
};

// How many CPUs' worth of time other processes took meanwhile: what spoils a measurement.
class ForeignLoad {
 public:
  ForeignLoad();

  // CPUs, on average since construction. Warns where that is more than a measurement bears.
  double cpus() const;

 private:
  std::chrono::steady_clock::time_point start_;
  double machine_;  // seconds of all CPUs
  double own_;
};

// The most memory this process has had resident so far.
int64_t peak_bytes();

// {"cpu", "isa", "version", "threads"}
base::Json machine_json(int threads);

}  // namespace ditmoe::apps
