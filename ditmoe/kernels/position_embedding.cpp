#include "ditmoe/kernels/position_embedding.h"

#include <cmath>

#include "ditmoe/base/error.h"

namespace ditmoe::kernels {

void sincos_position_embedding(int64_t grid, int64_t width, std::span<float> out_TD) {
  DITMOE_ASSERT(width % 4 == 0 && out_TD.size() == static_cast<size_t>(grid * grid * width));
  const int64_t quarter = width / 4;
  for (int64_t token = 0; token < grid * grid; ++token) {
    float* row = out_TD.data() + token * width;
    const auto x = static_cast<double>(token % grid);
    const auto y = static_cast<double>(token / grid);
    for (int64_t i = 0; i < quarter; ++i) {
      const double omega =
          std::pow(10000.0, -static_cast<double>(i) / static_cast<double>(quarter));
      row[i] = static_cast<float>(std::sin(x * omega));
      row[quarter + i] = static_cast<float>(std::cos(x * omega));
      row[2 * quarter + i] = static_cast<float>(std::sin(y * omega));
      row[3 * quarter + i] = static_cast<float>(std::cos(y * omega));
    }
  }
}

}  // namespace ditmoe::kernels
