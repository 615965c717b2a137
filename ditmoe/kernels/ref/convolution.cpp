#include "ditmoe/kernels/ref/convolution.h"

namespace ditmoe::kernels::ref {

void convolution(const float* source,
                 const MapShape& shape,
                 const float* weight,
                 const float* bias,
                 int64_t kernel,
                 int64_t stride,
                 int64_t border,
                 const MapShape& result,
                 float* dst) {
  const auto value = [&](int64_t y, int64_t x, int64_t output) {
    double sum = bias[output];
    for (int64_t i = 0; i < kernel; ++i) {
      for (int64_t j = 0; j < kernel; ++j) {
        const int64_t from_y = stride * y + i - border;
        const int64_t from_x = stride * x + j - border;
        if (from_y < 0 || from_y >= shape.height || from_x < 0 || from_x >= shape.width) continue;
        const float* pixel = source + (from_y * shape.width + from_x) * shape.channels;
        for (int64_t input = 0; input < shape.channels; ++input) {
          const int64_t tap = ((output * shape.channels + input) * kernel + i) * kernel + j;
          sum += static_cast<double>(pixel[input]) * weight[tap];
        }
      }
    }
    return static_cast<float>(sum);
  };
  for (int64_t y = 0; y < result.height; ++y) {
    for (int64_t x = 0; x < result.width; ++x) {
      for (int64_t output = 0; output < result.channels; ++output) *dst++ = value(y, x, output);
    }
  }
}

void enlarge_twofold(const float* source, const MapShape& shape, float* dst) {
  for (int64_t y = 0; y < 2 * shape.height; ++y) {
    for (int64_t x = 0; x < 2 * shape.width; ++x) {
      const float* pixel = source + (y / 2 * shape.width + x / 2) * shape.channels;
      for (int64_t c = 0; c < shape.channels; ++c) *dst++ = pixel[c];
    }
  }
}

}  // namespace ditmoe::kernels::ref
