#include "ditmoe/kernels/ref/position_embedding.h"

#include <cmath>

namespace ditmoe::kernels::ref {

void sincos_position_embedding(int64_t grid, int64_t width, std::span<float> out_TD) {
  const int64_t quarter = width / 4;
  for (int64_t token = 0; token < grid * grid; ++token) {
    for (int64_t i = 0; i < width; ++i) {
      const int64_t place = i < 2 * quarter ? token % grid : token / grid;
      const double exponent = static_cast<double>(i % quarter) / static_cast<double>(quarter);
      const double angle = static_cast<double>(place) / std::pow(10000.0, exponent);
      const bool is_sine = (i / quarter) % 2 == 0;
      out_TD[token * width + i] = static_cast<float>(is_sine ? std::sin(angle) : std::cos(angle));
    }
  }
}

}  // namespace ditmoe::kernels::ref
