#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "ditmoe/base/tensor.h"
#include "ditmoe/diffusion/denoiser.h"
#include "ditmoe/diffusion/sampler.h"

namespace ditmoe::pipeline {

// What to draw.
struct GenerateRequest {
  std::vector<int32_t> labels;  // one per image, num_classes for none
  std::string sampler = "ddim";
  int64_t steps = 50;
  diffusion::Guidance guidance;
  uint64_t seed = 0;
  int64_t first_image =
      0;              // index of labels[0] within the run: image i's noise depends on it alone
  int64_t batch = 0;  // images at a time; 0 chooses default_batch
};

// Told as denoiser steps complete, over all batches.
using GenerateProgress = std::function<void(int64_t steps_done, int64_t steps_total)>;

// Images [N, C, H, W] f32, nominally in [-1, 1]; image i depends on seed, first_image + i, its
// label and the settings alone. Throws bad_input for an unknown sampler or steps out of its range.
base::Tensor generate(diffusion::Denoiser& denoiser,
                      const GenerateRequest& request,
                      const GenerateProgress& progress = {});

// Images at a time that keep the memory of one forward modest: at most 32, fewer for large images.
int64_t default_batch(const diffusion::ImageShape& shape);

// How many images of [N, C, H, W] f32 hold a value that is not finite.
int64_t count_not_finite(const base::Tensor& images_NCHW);

// [N, C, H, W] f32 in [-1, 1] → [N, H, W, C] u8: clamp(127.5·x + 128, 0, 255), truncated (as DiT).
// NaN becomes 0.
base::Tensor to_uint8_NHWC(const base::Tensor& images_NCHW);

}  // namespace ditmoe::pipeline
