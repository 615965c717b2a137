#include <algorithm>
#include <vector>

#include "ditmoe/diffusion/flow_times.h"
#include "ditmoe/diffusion/guided_prediction.h"
#include "ditmoe/diffusion/samplers.h"

namespace ditmoe::diffusion {
namespace {

// x_{k+1} = x_k - dt·(3/2·v_k - 1/2·v_{k-1}); the first step, which has no v before it, is Euler's.
class Ab2Sampler final : public Sampler {
 public:
  explicit Ab2Sampler(int64_t steps) : times_(steps) {}

  void run(Denoiser& denoiser,
           const Guidance& guidance,
           std::span<const int32_t> y_N,
           const NoiseSource& /*noise*/,
           std::span<float> x_NCHW,
           const StepCallback& after_step) const override {
    GuidedPrediction velocity(denoiser, guidance, y_N);
    const auto image_size = static_cast<size_t>(velocity.image_size());
    std::vector<float> before(x_NCHW.size());
    for (int64_t done = 0; done < times_.steps(); ++done) {
      const double t = times_.at(done);
      velocity.predict(x_NCHW, static_cast<float>(t), t);
      for (int64_t image = 0; image < velocity.images(); ++image) {
        const size_t first = static_cast<size_t>(image) * image_size;
        const auto v = velocity.mean(image);
        const auto v_before = std::span(before).subspan(first, image_size);
        if (done == 0) std::ranges::copy(v, v_before.begin());
        advance(v, v_before, x_NCHW.subspan(first, image_size));
      }
      if (after_step) after_step(done + 1, times_.steps());
    }
  }

 private:
  // Moves x by one step and v_before on to v. Equal velocities make the step Euler's.
  void advance(std::span<const float> v, std::span<float> v_before, std::span<float> x) const {
    const float dt = times_.step_size();
    for (size_t i = 0; i < x.size(); ++i) {
      x[i] -= dt * (1.5f * v[i] - 0.5f * v_before[i]);
      v_before[i] = v[i];
    }
  }

  FlowTimes times_;
};

}  // namespace

std::unique_ptr<Sampler> make_ab2_sampler(int64_t steps) {
  return std::make_unique<Ab2Sampler>(steps);
}

}  // namespace ditmoe::diffusion
