#include <cmath>
#include <vector>

#include "ditmoe/diffusion/guided_prediction.h"
#include "ditmoe/diffusion/samplers.h"
#include "ditmoe/diffusion/schedule.h"

namespace ditmoe::diffusion {
namespace {

class DdpmSampler final : public Sampler {
 public:
  explicit DdpmSampler(int64_t steps) : schedule_(respace(linear_schedule(), steps)) {}

  void run(Denoiser& denoiser,
           const Guidance& guidance,
           std::span<const int32_t> y_N,
           const NoiseSource& noise,
           std::span<float> x_NCHW,
           const StepCallback& after_step) const override {
    GuidedPrediction prediction(denoiser, guidance, y_N);
    const int64_t steps = schedule_.steps();
    const auto image_size = static_cast<size_t>(prediction.image_size());
    std::vector<float> z(image_size);
    for (int64_t done = 0; done < steps; ++done) {
      const auto step = static_cast<size_t>(steps - 1 - done);
      const int64_t t = schedule_.timestep_map[step];
      prediction.predict(x_NCHW, static_cast<float>(t), noise_level(t));
      for (int64_t image = 0; image < prediction.images(); ++image) {
        const auto x = x_NCHW.subspan(static_cast<size_t>(image) * image_size, image_size);
        move_to_mean(step, prediction.mean(image), x);
        // The last step leads to the image itself, which has no noise.
        if (step == 0) continue;
        noise(image, done, z);
        if (prediction.has_variance()) {
          add_noise(step, prediction.variance(image), z, x);
        } else {
          add_noise(step, z, x);
        }
      }
      if (after_step) after_step(done + 1, steps);
    }
  }

 private:
  // x_t becomes the mean of x_{t-1} given the predicted noise.
  void move_to_mean(size_t step, std::span<const float> eps, std::span<float> x) const {
    const double recip = schedule_.sqrt_recip_alphas_cumprod[step];
    const double recipm1 = schedule_.sqrt_recipm1_alphas_cumprod[step];
    const double coef_x0 = schedule_.posterior_mean_coef_x0[step];
    const double coef_xt = schedule_.posterior_mean_coef_xt[step];
    for (size_t i = 0; i < x.size(); ++i) {
      const double x0 = recip * x[i] - recipm1 * eps[i];
      x[i] = static_cast<float>(coef_x0 * x0 + coef_xt * x[i]);
    }
  }

  // v in [-1, 1] goes from the posterior's log variance, the lower bound, to log beta, the upper.
  void add_noise(size_t step,
                 std::span<const float> v,
                 std::span<const float> z,
                 std::span<float> x) const {
    const double low = schedule_.posterior_log_variance_clipped[step];
    const double high = std::log(schedule_.betas[step]);
    for (size_t i = 0; i < x.size(); ++i) {
      const double fraction = (static_cast<double>(v[i]) + 1.0) / 2.0;
      const double log_variance = fraction * high + (1.0 - fraction) * low;
      x[i] += static_cast<float>(std::exp(0.5 * log_variance) * z[i]);
    }
  }

  void add_noise(size_t step, std::span<const float> z, std::span<float> x) const {
    const double deviation = std::exp(0.5 * schedule_.posterior_log_variance_clipped[step]);
    for (size_t i = 0; i < x.size(); ++i) x[i] += static_cast<float>(deviation * z[i]);
  }

  DdpmSchedule schedule_;
};

}  // namespace

std::unique_ptr<Sampler> make_ddpm_sampler(int64_t steps) {
  return std::make_unique<DdpmSampler>(steps);
}

}  // namespace ditmoe::diffusion
