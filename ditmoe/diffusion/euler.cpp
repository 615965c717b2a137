#include "ditmoe/base/error.h"
#include "ditmoe/diffusion/guided_prediction.h"
#include "ditmoe/diffusion/samplers.h"

namespace ditmoe::diffusion {
namespace {

// On the straight way x_t = (1 - t)·x + t·noise the network predicts noise - x = dx_t/dt, which is
// followed backwards from noise at t = 1 to the image at t = 0.
class EulerSampler final : public Sampler {
 public:
  explicit EulerSampler(int64_t steps) : steps_(steps) {
    // Beyond this a step is smaller than what a float at 1 can tell.
    constexpr int64_t kMaxSteps = int64_t{1} << 20;
    if (steps < 1 || steps > kMaxSteps) {
      base::bad_input("steps: expected 1 to {}, found {}", kMaxSteps, steps);
    }
  }

  void run(Denoiser& denoiser,
           const Guidance& guidance,
           std::span<const int32_t> y_N,
           const NoiseSource& /*noise*/,
           std::span<float> x_NCHW,
           const StepCallback& after_step) const override {
    GuidedPrediction velocity(denoiser, guidance, y_N);
    const auto image_size = static_cast<size_t>(velocity.image_size());
    const float dt = 1.0f / static_cast<float>(steps_);
    for (int64_t done = 0; done < steps_; ++done) {
      const double t = static_cast<double>(steps_ - done) / static_cast<double>(steps_);
      velocity.predict(x_NCHW, static_cast<float>(t));
      for (int64_t image = 0; image < velocity.images(); ++image) {
        const auto v = velocity.mean(image);
        const auto x = x_NCHW.subspan(static_cast<size_t>(image) * image_size, image_size);
        for (size_t i = 0; i < x.size(); ++i) x[i] -= dt * v[i];
      }
      if (after_step) after_step(done + 1, steps_);
    }
  }

 private:
  int64_t steps_;
};

}  // namespace

std::unique_ptr<Sampler> make_euler_sampler(int64_t steps) {
  return std::make_unique<EulerSampler>(steps);
}

}  // namespace ditmoe::diffusion
