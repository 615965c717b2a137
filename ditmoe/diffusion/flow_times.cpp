#include "ditmoe/diffusion/flow_times.h"

#include "ditmoe/base/error.h"

namespace ditmoe::diffusion {

FlowTimes::FlowTimes(int64_t steps) : steps_(steps) {
  // Beyond this a step is smaller than what a float at 1 can tell.
  constexpr int64_t kMaxSteps = int64_t{1} << 20;
  if (steps < 1 || steps > kMaxSteps) {
    base::bad_input("steps: expected 1 to {}, found {}", kMaxSteps, steps);
  }
}

double FlowTimes::at(int64_t done) const {
  DITMOE_ASSERT(done >= 0 && done <= steps_);
  return static_cast<double>(steps_ - done) / static_cast<double>(steps_);
}

}  // namespace ditmoe::diffusion
