#include "ditmoe/kernels/patchify.h"

#include <cstddef>
#include <cstring>

namespace ditmoe::kernels {

void patchify(const float* image_CHW, const PatchShape& shape, float* tokens) {
  const int64_t patch = shape.patch;
  float* dst = tokens;
  for (int64_t top = 0; top < shape.height; top += patch) {
    for (int64_t left = 0; left < shape.width; left += patch) {
      for (int64_t c = 0; c < shape.channels; ++c) {
        for (int64_t p = 0; p < patch; ++p) {
          const float* src = image_CHW + (c * shape.height + top + p) * shape.width + left;
          std::memcpy(dst, src, static_cast<size_t>(patch) * sizeof(float));
          dst += patch;
        }
      }
    }
  }
}

void unpatchify(const float* tokens, const PatchShape& shape, float* image_CHW) {
  const int64_t patch = shape.patch;
  const float* src = tokens;
  for (int64_t top = 0; top < shape.height; top += patch) {
    for (int64_t left = 0; left < shape.width; left += patch) {
      for (int64_t p = 0; p < patch; ++p) {
        for (int64_t q = 0; q < patch; ++q) {
          for (int64_t c = 0; c < shape.channels; ++c) {
            image_CHW[(c * shape.height + top + p) * shape.width + left + q] = *src++;
          }
        }
      }
    }
  }
}

}  // namespace ditmoe::kernels
