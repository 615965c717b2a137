#pragma once

#include <memory>

#include "ditmoe/base/thread_pool.h"
#include "ditmoe/kernels/precision.h"

namespace ditmoe::kernels {

// How fast this machine multiplies: oneDNN on a 4096 x 1152 x 9216 product of one precision, whole
// on OpenMP's threads and in tiles on those of the pool. What a network reaches is told as a
// fraction of the best of both, measured in the same run, since the rate drifts within minutes.
class Roof {
 public:
  // pool must outlive the roof. Throws bad_input for a precision the CPU has no products in.
  Roof(Precision precision, base::ThreadPool& pool);
  ~Roof();
  Roof(const Roof&) = delete;
  Roof& operator=(const Roof&) = delete;

  // Multiplies once each way.
  void measure();

  // The best rate so far, in GFLOP/s (two operations a multiply-accumulate).
  double best() const { return best_; }

  void forget() { best_ = 0; }

 private:
  struct Products;

  std::unique_ptr<Products> products_;
  base::ThreadPool& pool_;
  double best_ = 0;
};

}  // namespace ditmoe::kernels
