#pragma once

#include <omp.h>

namespace ditmoe::kernels {

// While one lives, oneDNN stays on the calling thread. oneDNN opens OpenMP regions of as many
// threads as the caller's setting says; our own pool shares out the work instead.
class OneThread {
 public:
  OneThread() : before_(omp_get_max_threads()) { omp_set_num_threads(1); }

  ~OneThread() { omp_set_num_threads(before_); }

  OneThread(const OneThread&) = delete;
  OneThread& operator=(const OneThread&) = delete;

 private:
  int before_;
};

}  // namespace ditmoe::kernels
