#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <span>
#include <vector>

#include <gtest/gtest.h>

#include "ditmoe/base/dtype.h"
#include "ditmoe/base/philox.h"

namespace ditmoe::tests {

// Standard normal numbers; the same for the same seed.
inline std::vector<float> normal_values(int64_t size, uint64_t seed, float deviation = 1.0f) {
  std::vector<float> values(static_cast<size_t>(size));
  base::fill_normal(values, {.seed = seed});
  for (float& value : values) {
    value *= deviation;
  }
  return values;
}

// True where |actual - expected| <= tolerance · the largest |expected|, everywhere; NaN never
// passes.
inline ::testing::AssertionResult close(std::span<const float> actual,
                                        std::span<const float> expected,
                                        double tolerance) {
  if (actual.size() != expected.size()) {
    return ::testing::AssertionFailure()
           << actual.size() << " values where " << expected.size() << " were expected";
  }
  double largest = 0.0;
  for (const float value : expected) {
    largest = std::max(largest, std::abs(static_cast<double>(value)));
  }
  for (size_t i = 0; i < actual.size(); ++i) {
    if (!(std::abs(static_cast<double>(actual[i]) - expected[i]) <= tolerance * largest)) {
      return ::testing::AssertionFailure()
             << "element " << i << " of " << actual.size() << " is " << actual[i] << ", expected "
             << expected[i] << " (largest magnitude " << largest << ")";
    }
  }
  return ::testing::AssertionSuccess();
}

// The numbers that bfloat16s stand for.
inline std::vector<float> widened(std::span<const base::BFloat16> values) {
  std::vector<float> wide;
  for (const base::BFloat16 value : values) wide.push_back(base::to_float(value));
  return wide;
}

}  // namespace ditmoe::tests
