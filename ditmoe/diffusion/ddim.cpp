#include <cmath>

#include "ditmoe/diffusion/guided_prediction.h"
#include "ditmoe/diffusion/samplers.h"
#include "ditmoe/diffusion/schedule.h"

namespace ditmoe::diffusion {
namespace {

class DdimSampler final : public Sampler {
 public:
  explicit DdimSampler(int64_t steps) : schedule_(respace_strided(linear_schedule(), steps)) {}

  void run(Denoiser& denoiser,
           const Guidance& guidance,
           std::span<const int32_t> y_N,
           const NoiseSource& /*noise*/,
           std::span<float> x_NCHW,
           const StepCallback& after_step) const override {
    GuidedPrediction prediction(denoiser, guidance, y_N);
    const int64_t steps = schedule_.steps();
    const auto image_size = static_cast<size_t>(prediction.image_size());
    for (int64_t done = 0; done < steps; ++done) {
      const auto step = static_cast<size_t>(steps - 1 - done);
      const int64_t t = schedule_.timestep_map[step];
      prediction.predict(x_NCHW, static_cast<float>(t), noise_level(t));
      for (int64_t image = 0; image < prediction.images(); ++image) {
        advance(step,
                prediction.mean(image),
                x_NCHW.subspan(static_cast<size_t>(image) * image_size, image_size));
      }
      if (after_step) after_step(done + 1, steps);
    }
  }

 private:
  // x_{t-1} = sqrt(ᾱ_{t-1})·x_0 + sqrt(1 - ᾱ_{t-1})·eps with the x_0 that x_t and eps imply. As x_0
  // is not clipped, the eps that x_0 implies in turn is the predicted one.
  void advance(size_t step, std::span<const float> eps, std::span<float> x) const {
    const double recip = schedule_.sqrt_recip_alphas_cumprod[step];
    const double recipm1 = schedule_.sqrt_recipm1_alphas_cumprod[step];
    const double signal = std::sqrt(schedule_.alphas_cumprod_prev[step]);
    const double noise = std::sqrt(1.0 - schedule_.alphas_cumprod_prev[step]);
    for (size_t i = 0; i < x.size(); ++i) {
      const double x0 = recip * x[i] - recipm1 * eps[i];
      x[i] = static_cast<float>(signal * x0 + noise * eps[i]);
    }
  }

  DdpmSchedule schedule_;
};

}  // namespace

std::unique_ptr<Sampler> make_ddim_sampler(int64_t steps) {
  return std::make_unique<DdimSampler>(steps);
}

}  // namespace ditmoe::diffusion
