#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <vector>

#include <gtest/gtest.h>

#include "ditmoe/kernels/ref/bfloat16.h"
#include "ditmoe/kernels/ref/quantize.h"
#include "ditmoe/kernels/ref/swiglu.h"
#include "ditmoe/kernels/row_kernels.h"

#include "tests/support/arrays.h"
#include "tests/support/isa.h"

namespace ditmoe::kernels {
namespace {

using base::BFloat16;
using tests::close;
using tests::normal_values;
using tests::widened;

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kLargest = std::numeric_limits<float>::max();

constexpr int64_t kWidths[] = {1, 2, 15, 16, 17, 63, 64, 65, 100, 384, 401};

// Half a step of bfloat16's 8 significant bits, and what f32 adds.
constexpr double kBf16Error = 1.01 / 256;

class RowRoundingTest : public tests::IsaTest {
 protected:
  const RowKernels& kernels_ = row_kernels(GetParam());
};

INSTANTIATE_TEST_SUITE_P(Isa, RowRoundingTest, tests::isa_levels(), tests::isa_level_name);

std::vector<uint16_t> bits_of(const std::vector<BFloat16>& values) {
  std::vector<uint16_t> bits;
  for (const BFloat16 value : values) bits.push_back(value.bits);
  return bits;
}

TEST_P(RowRoundingTest, Bf16OfEveryNumberAndItsNeighboursMatchesTheDefinition) {
  // Below, at and above the middle between any two: ties go to even, the largest to infinity.
  std::vector<float> src;
  for (uint32_t high = 0; high <= 0xffff; ++high) {
    for (const uint32_t low : {0u, 1u, 0x7fffu, 0x8000u, 0x8001u, 0xffffu}) {
      src.push_back(std::bit_cast<float>(high << 16 | low));
    }
  }
  const auto count = static_cast<int64_t>(src.size());
  std::vector<BFloat16> expected(src.size());
  std::vector<BFloat16> dst(src.size());
  ref::to_bf16(src.data(), count, expected.data());
  kernels_.to_bf16(src.data(), count, dst.data());
  EXPECT_EQ(bits_of(dst), bits_of(expected));
}

TEST_P(RowRoundingTest, Bf16OfAnyCountMatchesTheDefinition) {
  for (const int64_t width : kWidths) {
    const std::vector<float> src = normal_values(width, 1);
    std::vector<BFloat16> expected(src.size());
    std::vector<BFloat16> dst(src.size());
    ref::to_bf16(src.data(), width, expected.data());
    kernels_.to_bf16(src.data(), width, dst.data());
    EXPECT_EQ(bits_of(dst), bits_of(expected)) << width;
  }
}

TEST_P(RowRoundingTest, Bf16TiesGoToEven) {
  // 1 + 2^-8 lies between 1 and 1 + 2^-7, 1 + 3 · 2^-8 between that and 1 + 2^-6.
  const std::vector<float> src = {
      1.00390625f, -1.00390625f, 1.01171875f, kLargest, -kLargest, -0.0f, kNan, -kInfinity};
  std::vector<BFloat16> dst(src.size());
  kernels_.to_bf16(src.data(), 8, dst.data());
  EXPECT_EQ(
      bits_of(dst),
      (std::vector<uint16_t>{0x3f80, 0xbf80, 0x3f82, 0x7f80, 0xff80, 0x8000, 0x7fc0, 0xff80}));
}

struct Quantized {
  float scale;
  std::vector<uint8_t> values;

  float value(size_t i) const { return scale * static_cast<float>(values[i] - 128); }
};

Quantized quantized(const RowKernels& kernels, const std::vector<float>& src) {
  Quantized result{0, std::vector<uint8_t>(src.size(), 7)};
  result.scale =
      kernels.quantize(src.data(), static_cast<int64_t>(src.size()), result.values.data());
  return result;
}

TEST_P(RowRoundingTest, QuantizeMatchesItsDefinition) {
  for (const int64_t width : kWidths) {
    for (const float deviation : {1e-30f, 1.0f, 1e30f}) {
      const std::vector<float> src = normal_values(width, 1, deviation);
      std::vector<uint8_t> expected(src.size());
      const float scale = ref::quantize(src.data(), width, expected.data());
      const Quantized q = quantized(kernels_, src);
      EXPECT_NEAR(q.scale, scale, 1e-6 * scale);
      for (size_t i = 0; i < src.size(); ++i) {
        // Where a number lies in the middle, rounding of the scale decides.
        EXPECT_NEAR(q.values[i], expected[i], 1) << i << " of " << width;
        EXPECT_NEAR(q.value(i), src[i], 0.5001 * scale) << i << " of " << width;
      }
    }
  }
}

TEST_P(RowRoundingTest, QuantizeIsExactWhereTheScaleIsOne) {
  std::vector<float> src;
  for (int value = -127; value <= 127; ++value) src.push_back(static_cast<float>(value));
  for (const float value : {0.5f, 1.5f, -0.5f, -1.5f, 126.5f, -126.5f, 0.499f}) {
    src.push_back(value);
  }
  std::vector<uint8_t> expected(src.size());
  const auto width = static_cast<int64_t>(src.size());
  EXPECT_EQ(ref::quantize(src.data(), width, expected.data()), 1.0f);
  const Quantized q = quantized(kernels_, src);
  EXPECT_FLOAT_EQ(q.scale, 1.0f);
  EXPECT_EQ(q.values, expected);
  EXPECT_EQ(q.values.front(), 1);
  EXPECT_EQ(q.values[254], 255);
  EXPECT_EQ(q.values[255], 128);  // ties to even: 0.5 to 0
  EXPECT_EQ(q.values[256], 130);  // and 1.5 to 2
}

TEST_P(RowRoundingTest, QuantizeOfZerosIsZero) {
  for (const int64_t width : kWidths) {
    for (const float zero : {0.0f, -0.0f}) {
      const Quantized q = quantized(kernels_, std::vector<float>(static_cast<size_t>(width), zero));
      EXPECT_EQ(q.scale, 0.0f);
      EXPECT_EQ(q.values, std::vector<uint8_t>(static_cast<size_t>(width), 128));
    }
  }
  EXPECT_EQ(quantized(kernels_, {}).scale, 0.0f);
}

TEST_P(RowRoundingTest, QuantizeAtTheEndsOfTheRange) {
  std::vector<float> src = normal_values(17, 1);
  src[3] = kLargest;
  src[16] = -kLargest;
  src[5] = kLargest / 127.0f;
  const Quantized large = quantized(kernels_, src);
  EXPECT_FLOAT_EQ(large.scale, kLargest / 127.0f);
  EXPECT_EQ(large.values[3], 255);
  EXPECT_EQ(large.values[16], 1);
  EXPECT_EQ(large.values[5], 129);
  EXPECT_EQ(large.values[0], 128);

  for (const float size : {1e-45f, 1e-40f, 1e-38f, 3e-37f}) {
    std::vector<float> tiny(17, size);
    tiny[2] = 0.0f;
    tiny[4] = -size / 2.0f;
    const Quantized q = quantized(kernels_, tiny);
    EXPECT_EQ(q.values, std::vector<uint8_t>(17, 128)) << size;
    EXPECT_LE(q.scale, size);
  }
  // The first whose scale has a reciprocal.
  EXPECT_EQ(quantized(kernels_, {4e-37f, 0.0f, -4e-37f}).values,
            (std::vector<uint8_t>{255, 128, 1}));
}

TEST_P(RowRoundingTest, NonFiniteValuesReachTheScale) {
  for (const size_t place : {0, 9, 15, 16}) {
    std::vector<float> src = normal_values(17, 1);
    src[place] = kInfinity;
    EXPECT_EQ(quantized(kernels_, src).scale, kInfinity) << place;
    src[place] = -kInfinity;
    EXPECT_EQ(quantized(kernels_, src).scale, kInfinity) << place;
    src[place] = kNan;
    EXPECT_TRUE(std::isnan(quantized(kernels_, src).scale)) << place;
    src[place] = -kNan;
    src[(place + 1) % 17] = kInfinity;
    EXPECT_TRUE(std::isnan(quantized(kernels_, src).scale)) << place;
  }
}

TEST_P(RowRoundingTest, QuantizeOfBf16IsThatOfItsValues) {
  for (const int64_t width : kWidths) {
    std::vector<BFloat16> src(static_cast<size_t>(width));
    ref::to_bf16(normal_values(width, 1).data(), width, src.data());
    const Quantized expected = quantized(kernels_, widened(src));
    std::vector<uint8_t> dst(src.size());
    EXPECT_EQ(kernels_.quantize_bf16(src.data(), width, dst.data()), expected.scale);
    EXPECT_EQ(dst, expected.values) << width;
  }
  const BFloat16 wrong = base::to_bfloat16(kNan);
  uint8_t dst = 0;
  EXPECT_TRUE(std::isnan(kernels_.quantize_bf16(&wrong, 1, &dst)));
}

// Sums of products as large as a layer of a thousand inputs has them.
struct Sums {
  explicit Sums(int64_t rows, int64_t width) : scale(normal_values(width, 1, 1e-3f)) {
    for (const float value : normal_values(rows * width, 2, 1e5f)) {
      sum.push_back(static_cast<int32_t>(value) + 50000);
    }
    for (const float value : normal_values(width, 3, 1e4f)) {
      offset.push_back(static_cast<int32_t>(value) + 50000);
    }
    bias = normal_values(width, 4, 3.0f);
  }

  QuantizedColumns columns() const { return {scale.data(), offset.data()}; }

  std::vector<int32_t> sum;
  std::vector<float> scale;
  std::vector<int32_t> offset;
  std::vector<float> bias;
};

TEST_P(RowRoundingTest, DequantizeMatchesItsDefinition) {
  for (const int64_t width : kWidths) {
    const Sums sums(1, width);
    for (const bool with_bias : {false, true}) {
      const float* bias = with_bias ? sums.bias.data() : nullptr;
      std::vector<float> expected(sums.sum.size());
      ref::dequantize(sums.sum.data(), 0.03f, sums.columns(), bias, width, expected.data());
      std::vector<float> dst(expected.size());
      kernels_.dequantize(sums.sum.data(), 0.03f, sums.columns(), bias, width, dst.data());
      EXPECT_TRUE(close(dst, expected, 1e-6)) << width << " " << with_bias;
      std::vector<BFloat16> rounded(expected.size());
      kernels_.dequantize_bf16(sums.sum.data(), 0.03f, sums.columns(), bias, width, rounded.data());
      EXPECT_TRUE(close(widened(rounded), expected, kBf16Error)) << width << " " << with_bias;
    }
  }
}

TEST_P(RowRoundingTest, DequantizeInPlaceIsTheSame) {
  for (const int64_t width : kWidths) {
    const Sums sums(1, width);
    for (const float* bias : {static_cast<const float*>(nullptr), sums.bias.data()}) {
      std::vector<float> expected(sums.sum.size());
      kernels_.dequantize(sums.sum.data(), 0.03f, sums.columns(), bias, width, expected.data());
      std::vector<float> place;
      for (const int32_t sum : sums.sum) place.push_back(std::bit_cast<float>(sum));
      kernels_.dequantize(reinterpret_cast<const int32_t*>(place.data()),
                          0.03f,
                          sums.columns(),
                          bias,
                          width,
                          place.data());
      EXPECT_EQ(place, expected) << width;
    }
  }
}

TEST_P(RowRoundingTest, DequantizeOfTheLargestSums) {
  const std::vector<int32_t> sum = {
      std::numeric_limits<int32_t>::max(), std::numeric_limits<int32_t>::min(), 16777217, -1};
  const std::vector<float> scale(4, 1.0f);
  const std::vector<int32_t> offset = {0, 0, 16777216, 0};
  std::vector<float> dst(4);
  kernels_.dequantize(sum.data(), 1.0f, {scale.data(), offset.data()}, nullptr, 4, dst.data());
  // The offset is taken off before the sum is rounded to a float.
  EXPECT_EQ(dst, (std::vector<float>{0x1p31f, -0x1p31f, 1.0f, -1.0f}));
}

TEST_P(RowRoundingTest, NanScaleSpoilsTheRow) {
  const Sums sums(1, 17);
  std::vector<float> dst(17);
  std::vector<BFloat16> rounded(17);
  for (const float* bias : {static_cast<const float*>(nullptr), sums.bias.data()}) {
    kernels_.dequantize(sums.sum.data(), kNan, sums.columns(), bias, 17, dst.data());
    kernels_.dequantize_bf16(sums.sum.data(), kNan, sums.columns(), bias, 17, rounded.data());
    for (size_t i = 0; i < 17; ++i) {
      EXPECT_TRUE(std::isnan(dst[i])) << i;
      EXPECT_TRUE(std::isnan(base::to_float(rounded[i]))) << i;
    }
  }
}

TEST_P(RowRoundingTest, SwigluOfSumsMatchesItsDefinition) {
  constexpr int64_t kRows = 3;
  for (const int64_t width : kWidths) {
    const int64_t stride = width + 3;
    const Sums sums(kRows, 2 * width);
    const std::vector<float> row_scale = {0.01f, 0.02f, 0.005f};
    std::vector<float> expected(static_cast<size_t>(kRows * stride), -7.0f);
    ref::swiglu_int8(
        sums.sum.data(), kRows, width, row_scale.data(), sums.columns(), expected.data(), stride);
    std::vector<BFloat16> dst(expected.size(), base::to_bfloat16(-7.0f));
    kernels_.swiglu_int8(
        sums.sum.data(), kRows, width, row_scale.data(), sums.columns(), dst.data(), stride);
    const std::vector<float> wide = widened(dst);
    for (size_t i = 0; i < expected.size(); ++i) {
      EXPECT_NEAR(wide[i], expected[i], kBf16Error * std::abs(expected[i])) << i << " of " << width;
    }
  }
}

TEST_P(RowRoundingTest, SwigluOfSumsWithANanScaleSpoilsItsRowAlone) {
  const Sums sums(3, 2 * 17);
  const std::vector<float> row_scale = {1e-3f, kNan, 1e-3f};
  std::vector<BFloat16> dst(3 * 17);
  kernels_.swiglu_int8(sums.sum.data(), 3, 17, row_scale.data(), sums.columns(), dst.data(), 17);
  for (size_t i = 0; i < dst.size(); ++i) {
    EXPECT_EQ(std::isnan(base::to_float(dst[i])), i / 17 == 1) << i;
  }
}

}  // namespace
}  // namespace ditmoe::kernels
