#pragma once

#include <cstdint>

namespace ditmoe::diffusion {

// Times t_k = 1 - k / steps at which samplers stop on their way along a rectified flow, from noise
// at t = 1 to the image at t = 0.
class FlowTimes {
 public:
  // Throws bad_input for steps below 1 or beyond 2^20.
  explicit FlowTimes(int64_t steps);

  int64_t steps() const { return steps_; }

  // t after so many steps, in [0, steps()].
  double at(int64_t done) const;

  float step_size() const { return 1.0f / static_cast<float>(steps_); }

 private:
  int64_t steps_;
};

}  // namespace ditmoe::diffusion
