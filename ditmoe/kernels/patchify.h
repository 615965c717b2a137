#pragma once

#include <cstdint>

namespace ditmoe::kernels {

// An image and its square patches.
struct PatchShape {
  int64_t channels = 0;
  int64_t height = 0;  // multiples of patch
  int64_t width = 0;
  int64_t patch = 0;

  int64_t tokens() const { return (height / patch) * (width / patch); }

  int64_t patch_size() const { return patch * patch * channels; }

  int64_t image_size() const { return channels * height * width; }
};

// tokens[h·(W/P) + w, (c, p, q)] = image[c, h·P + p, w·P + q]: rows for the product that stands for
// a P x P convolution with stride P, whose kernel is stored [out, c, p, q].
//   image_CHW [C, H, W], tokens [tokens(), patch_size()]; they do not alias
void patchify(const float* image_CHW, const PatchShape& shape, float* tokens);

// image[c, h·P + p, w·P + q] = tokens[h·(W/P) + w, (p, q, c)]: the order of DiT's last layer,
// channels innermost.
void unpatchify(const float* tokens, const PatchShape& shape, float* image_CHW);

}  // namespace ditmoe::kernels
