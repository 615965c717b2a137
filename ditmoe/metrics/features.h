#pragma once

#include <cstdint>
#include <span>
#include <string_view>

namespace ditmoe::metrics {

// Feature vectors of a set of images, row-major [count, size], owned by somebody else.
struct FeatureView {
  std::span<const float> values;
  int64_t count = 0;
  int64_t size = 0;
};

// Throws bad_input "<what>: ..." unless there are count x size values, size at least 1, all finite
// (naming the row).
void expect_features(const FeatureView& set, std::string_view what);

}  // namespace ditmoe::metrics
