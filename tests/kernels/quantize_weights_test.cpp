#include "ditmoe/kernels/quantize_weights.h"

#include <cmath>
#include <limits>
#include <vector>

#include <gtest/gtest.h>

#include "ditmoe/kernels/ref/quantize.h"

#include "tests/support/arrays.h"

namespace ditmoe::kernels {
namespace {

struct Quantized {
  Quantized(int64_t outputs, int64_t inputs)
      : values(static_cast<size_t>(outputs * inputs), 99),
        scale(static_cast<size_t>(outputs), -1.0f),
        offset(static_cast<size_t>(outputs), -1) {}

  std::vector<int8_t> values;
  std::vector<float> scale;
  std::vector<int32_t> offset;
};

Quantized quantized(const std::vector<float>& weight, int64_t outputs, int64_t inputs) {
  Quantized q(outputs, inputs);
  quantize_weights(
      weight.data(), outputs, inputs, q.values.data(), q.scale.data(), q.offset.data());
  return q;
}

TEST(QuantizeWeightsTest, MatchesItsDefinition) {
  for (const int64_t inputs : {1, 2, 17, 100, 401}) {
    for (const int64_t outputs : {1, 3, 16}) {
      const std::vector<float> weight = tests::normal_values(outputs * inputs, 1, 0.05f);
      Quantized expected(outputs, inputs);
      ref::quantize_weights(weight.data(),
                            outputs,
                            inputs,
                            expected.values.data(),
                            expected.scale.data(),
                            expected.offset.data());
      const Quantized q = quantized(weight, outputs, inputs);
      EXPECT_TRUE(tests::close(q.scale, expected.scale, 1e-6));
      for (size_t i = 0; i < weight.size(); ++i) {
        const float scale = q.scale[i / static_cast<size_t>(inputs)];
        // Where a weight lies in the middle, rounding of the scale decides.
        EXPECT_NEAR(q.values[i], expected.values[i], 1) << i;
        EXPECT_NEAR(scale * q.values[i], weight[i], 0.5001 * scale) << i;
      }
    }
  }
}

TEST(QuantizeWeightsTest, OffsetIs128TimesTheSumOfAnOutput) {
  constexpr int64_t kInputs = 401;
  const Quantized q = quantized(tests::normal_values(5 * kInputs, 1), 5, kInputs);
  for (int64_t n = 0; n < 5; ++n) {
    int32_t sum = 0;
    for (int64_t k = 0; k < kInputs; ++k) sum += q.values[n * kInputs + k];
    EXPECT_EQ(q.offset[n], 128 * sum) << n;
  }
}

TEST(QuantizeWeightsTest, IsExactWhereTheScaleIsOne) {
  const Quantized q = quantized({127.0f, -127.0f, 3.0f, 0.5f, 1.5f, -0.5f, -2.5f, -0.0f}, 1, 8);
  EXPECT_EQ(q.scale[0], 1.0f);
  EXPECT_EQ(q.values, (std::vector<int8_t>{127, -127, 3, 0, 2, 0, -2, 0}));
  EXPECT_EQ(q.offset[0], 128 * 3);
}

TEST(QuantizeWeightsTest, OutputsOfNothingOrAlmostNothingAreZero) {
  const std::vector<float> weight = {0.0f, -0.0f, 0.0f, 1e-40f, -1e-38f, 0.0f, 1.0f, 0.0f, -1.0f};
  const Quantized q = quantized(weight, 3, 3);
  EXPECT_EQ(q.values, (std::vector<int8_t>{0, 0, 0, 0, 0, 0, 127, 0, -127}));
  EXPECT_EQ(q.offset, (std::vector<int32_t>{0, 0, 0}));
  EXPECT_EQ(q.scale[0], 0.0f);
  EXPECT_LE(q.scale[1], 1e-38f);
}

TEST(QuantizeWeightsTest, LargestWeightsKeepTheirSize) {
  const float largest = std::numeric_limits<float>::max();
  const Quantized q = quantized({largest, -largest, 1.0f}, 1, 3);
  EXPECT_EQ(q.values, (std::vector<int8_t>{127, -127, 0}));
  EXPECT_FLOAT_EQ(q.scale[0], largest / 127.0f);
}

TEST(QuantizeWeightsTest, NonFiniteWeightMakesTheScaleOfItsOutputNan) {
  const float infinity = std::numeric_limits<float>::infinity();
  for (const float wrong : {std::numeric_limits<float>::quiet_NaN(), infinity, -infinity}) {
    for (const size_t place : {4, 5, 7}) {
      std::vector<float> weight = tests::normal_values(12, 1);
      weight[place] = wrong;
      const Quantized q = quantized(weight, 3, 4);
      EXPECT_TRUE(std::isfinite(q.scale[0]));
      EXPECT_TRUE(std::isnan(q.scale[1]));
      EXPECT_TRUE(std::isfinite(q.scale[2]));
    }
  }
}

}  // namespace
}  // namespace ditmoe::kernels
