#pragma once

#include <cstdint>

namespace ditmoe::kernels {

// A map of features, the channels of a pixel side by side: [height, width, channels] floats.
struct MapShape {
  int64_t height = 0;
  int64_t width = 0;
  int64_t channels = 0;

  int64_t pixels() const { return height * width; }

  int64_t size() const { return pixels() * channels; }

  bool operator==(const MapShape&) const = default;
};

}  // namespace ditmoe::kernels
