#include "ditmoe/diffusion/flow_times.h"
#include "ditmoe/diffusion/guided_prediction.h"
#include "ditmoe/diffusion/samplers.h"

namespace ditmoe::diffusion {
namespace {

// On the straight way x_t = (1 - t)·x + t·noise the network predicts noise - x = dx_t/dt, which is
// followed backwards from noise at t = 1 to the image at t = 0.
class EulerSampler final : public Sampler {
 public:
  explicit EulerSampler(int64_t steps) : times_(steps) {}

  void run(Denoiser& denoiser,
           const Guidance& guidance,
           std::span<const int32_t> y_N,
           const NoiseSource& /*noise*/,
           std::span<float> x_NCHW,
           const StepCallback& after_step) const override {
    GuidedPrediction velocity(denoiser, guidance, y_N);
    const auto image_size = static_cast<size_t>(velocity.image_size());
    const float dt = times_.step_size();
    for (int64_t done = 0; done < times_.steps(); ++done) {
      const double t = times_.at(done);
      velocity.predict(x_NCHW, static_cast<float>(t), t);
      for (int64_t image = 0; image < velocity.images(); ++image) {
        const auto v = velocity.mean(image);
        const auto x = x_NCHW.subspan(static_cast<size_t>(image) * image_size, image_size);
        for (size_t i = 0; i < x.size(); ++i) x[i] -= dt * v[i];
      }
      if (after_step) after_step(done + 1, times_.steps());
    }
  }

 private:
  FlowTimes times_;
};

}  // namespace

std::unique_ptr<Sampler> make_euler_sampler(int64_t steps) {
  return std::make_unique<EulerSampler>(steps);
}

}  // namespace ditmoe::diffusion
