#include "ditmoe/base/dtype.h"

#include <bit>
#include <cmath>
#include <limits>

#include <gtest/gtest.h>

namespace ditmoe::base {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

TEST(DTypeTest, NamesAreInverse) {
  for (int i = 0; i <= static_cast<int>(DType::kBool); ++i) {
    const auto dtype = static_cast<DType>(i);
    EXPECT_EQ(dtype_from_name(name_of(dtype)), dtype);
  }
  EXPECT_EQ(dtype_from_name("f32"), std::nullopt);
  EXPECT_EQ(dtype_from_name(""), std::nullopt);
}

TEST(DTypeTest, Sizes) {
  EXPECT_EQ(size_of(DType::kF64), 8U);
  EXPECT_EQ(size_of(DType::kF32), 4U);
  EXPECT_EQ(size_of(DType::kBF16), 2U);
  EXPECT_EQ(size_of(DType::kF16), 2U);
  EXPECT_EQ(size_of(DType::kI64), 8U);
  EXPECT_EQ(size_of(DType::kBool), 1U);
}

// The value a half's bits stand for, by IEEE 754's definition.
double half_value(uint32_t bits) {
  const int exponent = static_cast<int>(bits >> 10 & 0x1F);
  const double fraction = static_cast<double>(bits & 0x3FF) / 1024;
  const double magnitude =
      exponent == 0 ? std::ldexp(fraction, -14) : std::ldexp(1 + fraction, exponent - 15);
  return (bits & 0x8000) != 0 ? -magnitude : magnitude;
}

TEST(HalfTest, AllPatternsHaveTheirValueAndRoundTrip) {
  for (uint32_t bits = 0; bits < 65536; ++bits) {
    const Half half = {static_cast<uint16_t>(bits)};
    const float value = to_float(half);
    if ((bits & 0x7C00) == 0x7C00 && (bits & 0x3FF) != 0) {
      EXPECT_TRUE(std::isnan(value)) << bits;
      EXPECT_TRUE(std::isnan(to_float(to_half(value)))) << bits;
      continue;
    }
    if ((bits & 0x7C00) == 0x7C00) {
      EXPECT_EQ(value, (bits & 0x8000) != 0 ? -kInfinity : kInfinity);
    } else {
      EXPECT_EQ(static_cast<double>(value), half_value(bits)) << bits;
      EXPECT_EQ(std::signbit(value), (bits & 0x8000) != 0) << bits;
    }
    EXPECT_EQ(to_half(value).bits, bits);
  }
}

TEST(BFloat16Test, AllPatternsHaveTheirValueAndRoundTrip) {
  for (uint32_t bits = 0; bits < 65536; ++bits) {
    const float value = to_float(BFloat16{static_cast<uint16_t>(bits)});
    if (std::isnan(value)) {
      EXPECT_TRUE(std::isnan(to_float(to_bfloat16(value)))) << bits;
      continue;
    }
    EXPECT_EQ(std::bit_cast<uint32_t>(value), bits << 16);
    EXPECT_EQ(to_bfloat16(value).bits, bits);
  }
}

// Between each two neighbours: the middle goes to the even one, either side of it to the nearer.
TEST(HalfTest, TiesGoToEven) {
  for (uint32_t low = 0; low < 0x7BFF; ++low) {
    const float middle = static_cast<float>((half_value(low) + half_value(low + 1)) / 2);
    const uint32_t even = low % 2 == 0 ? low : low + 1;
    EXPECT_EQ(to_half(middle).bits, even);
    EXPECT_EQ(to_half(-middle).bits, even | 0x8000);
    EXPECT_EQ(to_half(std::nextafter(middle, 0.0F)).bits, low);
    EXPECT_EQ(to_half(std::nextafter(middle, kInfinity)).bits, low + 1);
  }
}

TEST(BFloat16Test, TiesGoToEven) {
  for (uint32_t low = 0; low < 0x7F7F; ++low) {
    const auto middle = std::bit_cast<float>(low << 16 | 0x8000);
    const uint32_t even = low % 2 == 0 ? low : low + 1;
    EXPECT_EQ(to_bfloat16(middle).bits, even);
    EXPECT_EQ(to_bfloat16(-middle).bits, even | 0x8000);
    EXPECT_EQ(to_bfloat16(std::bit_cast<float>(low << 16 | 0x7FFF)).bits, low);
    EXPECT_EQ(to_bfloat16(std::bit_cast<float>(low << 16 | 0x8001)).bits, low + 1);
  }
}

TEST(HalfTest, OverflowBecomesInfinity) {
  EXPECT_EQ(to_half(65504.0F).bits, 0x7BFF);
  EXPECT_EQ(to_half(65519.996F).bits, 0x7BFF);
  EXPECT_EQ(to_half(65520.0F).bits, 0x7C00);
  EXPECT_EQ(to_half(-1e30F).bits, 0xFC00);
  EXPECT_EQ(to_half(kInfinity).bits, 0x7C00);
}

TEST(BFloat16Test, OverflowBecomesInfinity) {
  EXPECT_EQ(to_bfloat16(std::numeric_limits<float>::max()).bits, 0x7F80);
  EXPECT_EQ(to_bfloat16(-kInfinity).bits, 0xFF80);
}

TEST(BFloat16Test, NanWithOnlyLowBitsStaysNan) {
  EXPECT_TRUE(std::isnan(to_float(to_bfloat16(std::bit_cast<float>(0x7F800001U)))));
  EXPECT_TRUE(std::isnan(to_float(to_half(std::bit_cast<float>(0x7F800001U)))));
}

TEST(HalfTest, UnderflowBecomesZeroOfTheSameSign) {
  EXPECT_EQ(to_half(1e-30F).bits, 0);
  EXPECT_EQ(to_half(-1e-30F).bits, 0x8000);
}

}  // namespace
}  // namespace ditmoe::base
