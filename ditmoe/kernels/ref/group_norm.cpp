#include "ditmoe/kernels/ref/group_norm.h"

#include <cmath>

#include "ditmoe/kernels/group_norm.h"

namespace ditmoe::kernels::ref {

void group_norm(const float* map,
                const MapShape& shape,
                int64_t groups,
                const float* weight,
                const float* bias,
                float* dst) {
  const int64_t channels = shape.channels;
  const int64_t width = channels / groups;
  const auto count = static_cast<double>(shape.pixels() * width);
  for (int64_t first = 0; first < channels; first += width) {
    double mean = 0.0;
    for (int64_t pixel = 0; pixel < shape.pixels(); ++pixel) {
      for (int64_t c = first; c < first + width; ++c) mean += map[pixel * channels + c] / count;
    }
    double variance = 0.0;
    for (int64_t pixel = 0; pixel < shape.pixels(); ++pixel) {
      for (int64_t c = first; c < first + width; ++c) {
        const double centred = map[pixel * channels + c] - mean;
        variance += centred * centred / count;
      }
    }
    for (int64_t pixel = 0; pixel < shape.pixels(); ++pixel) {
      for (int64_t c = first; c < first + width; ++c) {
        const int64_t i = pixel * channels + c;
        const double normal = (map[i] - mean) / std::sqrt(variance + kGroupNormEps);
        dst[i] = static_cast<float>(normal * weight[c] + bias[c]);
      }
    }
  }
}

}  // namespace ditmoe::kernels::ref
