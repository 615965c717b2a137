#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "ditmoe/diffusion/denoiser.h"

namespace ditmoe::diffusion {

// Classifier-free guidance: mean = uncond + scale·(cond - uncond) on the guided channels; other
// channels and the predicted variance are the conditional half's. scale 1 runs without the null
// half. Outside the interval the prediction is the conditional half's and the null half is not run
// (Kynkäänniemi et al. 2024, arXiv 2404.07724).
struct Guidance {
  // Noise levels with guidance, both ends included, as fractions of the way from image (0) to noise
  // (1): t for rectified flow; for DDPM models step / 999 of the step that the network is told.
  struct Interval {
    double low = 0.0;
    double high = 1.0;

    bool contains(double level) const { return low <= level && level <= high; }

    bool operator==(const Interval&) const = default;
  };

  double scale = 1.0;
  bool all_channels = false;  // else the first min(3, C)
  Interval interval;
};

// Throws bad_input unless 0 <= low <= high <= 1.
void check_interval(const Guidance::Interval& interval);

// Draws the standard normal numbers for one image at one step: step -1 is the starting noise, step
// k >= 0 the sampler's k-th step in the order they are run. out is one image [C, H, W].
using NoiseSource = std::function<void(int64_t image, int64_t step, std::span<float> out)>;

// Noise keyed by seed and image index alone: image i of the call is first_image + i of the run.
NoiseSource philox_noise(uint64_t seed, int64_t first_image);

// Told after each step: steps done so far, steps in all.
using StepCallback = std::function<void(int64_t done, int64_t total)>;

// Turns noise into images by asking a Denoiser a number of times.
class Sampler {
 public:
  virtual ~Sampler() = default;

  // x_NCHW holds the starting noise and becomes the images, nominally in [-1, 1], not clipped.
  // y_N: labels, num_classes() for none. noise is asked only by samplers that draw some.
  virtual void run(Denoiser& denoiser,
                   const Guidance& guidance,
                   std::span<const int32_t> y_N,
                   const NoiseSource& noise,
                   std::span<float> x_NCHW,
                   const StepCallback& after_step = {}) const = 0;
};

// For DDPM models "ddpm", "ddim" (eta 0) and "dpm++" (2M) with `steps` of 1000, which they choose
// by respace, respace_strided and respace_for_solver; for rectified flow from t = 1 to 0 "euler",
// "heun" and "ab2" in `steps` equal steps. Throws bad_input for an unknown name (naming the known
// ones) or steps out of range.
std::unique_ptr<Sampler> make_sampler(const std::string& name, int64_t steps);

// Names make_sampler knows, whether the sampler is for DDPM models or rectified flow, and how many
// steps it is given where nobody says.
struct SamplerInfo {
  std::string name;
  bool rectified_flow = false;
  int64_t default_steps = 0;
  std::string summary;
};

const std::vector<SamplerInfo>& known_samplers();

}  // namespace ditmoe::diffusion
