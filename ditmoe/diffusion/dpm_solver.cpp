#include <cmath>
#include <vector>

#include "ditmoe/diffusion/guided_prediction.h"
#include "ditmoe/diffusion/samplers.h"
#include "ditmoe/diffusion/schedule.h"

namespace ditmoe::diffusion {
namespace {

// With α = sqrt(ᾱ), σ = sqrt(1 - ᾱ), λ = log(α/σ), and x_0 the image that x_t and the predicted
// noise imply, one step from λ to λ' = λ + h solves the probability flow with x_0 taken as a line
// in λ through its two latest values, h_before apart:
//   D  = x_0 + h / (2·h_before)·(x_0 - x_0 before)
//   x' = σ'/σ·x + α'·(1 - exp(-h))·D
// The first step knows one value and takes D = x_0, which is DDIM's step. The last leads to σ' = 0,
// where h is infinite and no line can be followed: it ends at x_0.
class DpmSolver final : public Sampler {
 public:
  explicit DpmSolver(int64_t steps) : schedule_(respace_for_solver(linear_schedule(), steps)) {}

  void run(Denoiser& denoiser,
           const Guidance& guidance,
           std::span<const int32_t> y_N,
           const NoiseSource& /*noise*/,
           std::span<float> x_NCHW,
           const StepCallback& after_step) const override {
    GuidedPrediction prediction(denoiser, guidance, y_N);
    const int64_t steps = schedule_.steps();
    const auto image_size = static_cast<size_t>(prediction.image_size());
    std::vector<float> x0_before(x_NCHW.size());
    for (int64_t done = 0; done < steps; ++done) {
      const auto step = static_cast<size_t>(steps - 1 - done);
      const int64_t t = schedule_.timestep_map[step];
      prediction.predict(x_NCHW, static_cast<float>(t), noise_level(t));
      const Coefficients coefficients = coefficients_of(step);
      for (int64_t image = 0; image < prediction.images(); ++image) {
        const size_t first = static_cast<size_t>(image) * image_size;
        advance(coefficients,
                prediction.mean(image),
                std::span(x0_before).subspan(first, image_size),
                x_NCHW.subspan(first, image_size));
      }
      if (after_step) after_step(done + 1, steps);
    }
  }

 private:
  struct Coefficients {
    double recip, recipm1;  // x_0 = recip·x - recipm1·eps
    double of_x = 0.0;      // σ'/σ
    double of_data = 1.0;   // α'·(1 - exp(-h))
    double slope = 0.0;     // h / (2·h_before)
  };

  double half_log_snr(size_t step) const {
    return std::log(schedule_.sqrt_alphas_cumprod[step] /
                    schedule_.sqrt_one_minus_alphas_cumprod[step]);
  }

  // Of the step that leaves `step` for the one below it, for the clean image from step 0.
  Coefficients coefficients_of(size_t step) const {
    Coefficients c{schedule_.sqrt_recip_alphas_cumprod[step],
                   schedule_.sqrt_recipm1_alphas_cumprod[step]};
    if (step == 0) return c;
    const double h = half_log_snr(step - 1) - half_log_snr(step);
    c.of_x = schedule_.sqrt_one_minus_alphas_cumprod[step - 1] /
             schedule_.sqrt_one_minus_alphas_cumprod[step];
    c.of_data = -schedule_.sqrt_alphas_cumprod[step - 1] * std::expm1(-h);
    if (step + 1 < schedule_.alphas_cumprod.size()) {
      c.slope = h / (2.0 * (half_log_snr(step) - half_log_snr(step + 1)));
    }
    return c;
  }

  static void advance(const Coefficients& c,
                      std::span<const float> eps,
                      std::span<float> x0_before,
                      std::span<float> x) {
    for (size_t i = 0; i < x.size(); ++i) {
      const double x0 = c.recip * x[i] - c.recipm1 * eps[i];
      const double data = x0 + c.slope * (x0 - x0_before[i]);
      x[i] = static_cast<float>(c.of_x * x[i] + c.of_data * data);
      x0_before[i] = static_cast<float>(x0);
    }
  }

  DdpmSchedule schedule_;
};

}  // namespace

std::unique_ptr<Sampler> make_dpm_solver(int64_t steps) {
  return std::make_unique<DpmSolver>(steps);
}

}  // namespace ditmoe::diffusion
