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
// half.
struct Guidance {
  double scale = 1.0;
  bool all_channels = false;  // else the first min(3, C)
};

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

// "ddpm" and "ddim" (eta 0) with `steps` of 1000, which they choose by respace and respace_strided;
// "euler" for rectified flow from t = 1 to 0. Throws bad_input for an unknown name (naming the
// known ones) or steps out of range.
std::unique_ptr<Sampler> make_sampler(const std::string& name, int64_t steps);

// Names make_sampler knows, and whether the sampler is for DDPM models or rectified flow.
struct SamplerInfo {
  std::string name;
  bool rectified_flow = false;
  std::string summary;
};

const std::vector<SamplerInfo>& known_samplers();

}  // namespace ditmoe::diffusion
