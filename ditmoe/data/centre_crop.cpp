#include "ditmoe/data/centre_crop.h"

#include <algorithm>
#include <cmath>

#include "ditmoe/base/error.h"
#include "ditmoe/data/resample.h"

namespace ditmoe::data {
namespace {

// As Python rounds: halves to the even number.
int64_t scaled(int64_t side, double scale) {
  return static_cast<int64_t>(std::nearbyint(static_cast<double>(side) * scale));
}

}  // namespace

formats::Image centre_crop(formats::Image image, int64_t size) {
  DITMOE_ASSERT(size > 0);
  while (std::min(image.width, image.height) >= 2 * size) {
    const int64_t width = image.width / 2;
    const int64_t height = image.height / 2;
    image = resize(image, width, height, Filter::kBox, {0, 0, width, height});
  }
  const double scale =
      static_cast<double>(size) / static_cast<double>(std::min(image.width, image.height));
  const int64_t width = scaled(image.width, scale);
  const int64_t height = scaled(image.height, scale);
  const Window window = {(width - size) / 2, (height - size) / 2, size, size};
  return resize(image, width, height, Filter::kBicubic, window);
}

}  // namespace ditmoe::data
