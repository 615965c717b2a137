#include "ditmoe/kernels/row_kernels.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include <gtest/gtest.h>

#include "ditmoe/kernels/ref/expert_dispatch.h"
#include "ditmoe/kernels/ref/gated_residual.h"
#include "ditmoe/kernels/ref/gelu_tanh.h"
#include "ditmoe/kernels/ref/layer_norm.h"
#include "ditmoe/kernels/ref/matmul.h"
#include "ditmoe/kernels/ref/swiglu.h"

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

// Whole registers and blocks, one less, one more, and sizes of networks.
constexpr int64_t kWidths[] = {1, 2, 15, 16, 17, 63, 64, 65, 100, 384, 401};

// Half a step of bfloat16's 8 significant bits, of the number itself, and what f32 adds.
constexpr double kBf16Error = 1.01 / 256;

class RowKernelsTest : public tests::IsaTest {
 protected:
  const RowKernels& kernels_ = row_kernels(GetParam());
};

INSTANTIATE_TEST_SUITE_P(Isa, RowKernelsTest, tests::isa_levels(), tests::isa_level_name);

TEST_P(RowKernelsTest, LayerNormMatchesItsDefinition) {
  for (const int64_t width : kWidths) {
    std::vector<float> x = normal_values(width, 1, 3.0f);
    for (float& value : x) value += 10.0f;
    const std::vector<float> shift = normal_values(width, 2);
    const std::vector<float> scale = normal_values(width, 3);
    std::vector<float> expected(x.size());
    ref::layer_norm_modulate(x.data(), shift.data(), scale.data(), 1, width, expected.data());
    std::vector<float> dst(x.size());
    kernels_.layer_norm_modulate(x.data(), shift.data(), scale.data(), width, dst.data());
    EXPECT_TRUE(close(dst, expected, 1e-5)) << width;
  }
}

TEST_P(RowKernelsTest, LayerNormOfARowAsSmallAsEpsilonMatchesItsDefinition) {
  const std::vector<float> x = normal_values(100, 1, 1e-3f);
  const std::vector<float> zeros(100);
  std::vector<float> expected(100);
  ref::layer_norm_modulate(x.data(), zeros.data(), zeros.data(), 1, 100, expected.data());
  EXPECT_LT(*std::ranges::max_element(expected), 2.2f);  // the variance is hardly more than epsilon
  std::vector<float> dst(100);
  kernels_.layer_norm_modulate(x.data(), zeros.data(), zeros.data(), 100, dst.data());
  EXPECT_TRUE(close(dst, expected, 1e-5));
}

TEST_P(RowKernelsTest, LayerNormOfAConstantRowGivesTheShift) {
  const std::vector<float> x(40, 3.5f);
  const std::vector<float> shift(40, -2.0f);
  const std::vector<float> scale(40, 1.0f);
  std::vector<float> dst(40);
  kernels_.layer_norm_modulate(x.data(), shift.data(), scale.data(), 40, dst.data());
  EXPECT_EQ(dst, shift);
}

TEST_P(RowKernelsTest, LayerNormOfANonFiniteValueSpoilsTheWholeRow) {
  const std::vector<float> zeros(40);
  for (const float wrong : {kNan, kInfinity, -kInfinity}) {
    for (const size_t place : {0, 17, 39}) {
      std::vector<float> x = normal_values(40, 1);
      x[place] = wrong;
      std::vector<float> dst(40);
      kernels_.layer_norm_modulate(x.data(), zeros.data(), zeros.data(), 40, dst.data());
      EXPECT_TRUE(std::ranges::all_of(dst, [](float value) { return std::isnan(value); }));
    }
  }
}

TEST_P(RowKernelsTest, BitsDoNotDependOnWhereARowLies) {
  constexpr int64_t kWidth = 401;
  const std::vector<float> x = normal_values(kWidth, 1);
  const std::vector<float> weight = normal_values(5 * kWidth, 2);
  std::vector<float> norm(kWidth);
  kernels_.layer_norm_modulate(x.data(), weight.data(), weight.data(), kWidth, norm.data());
  std::vector<float> logits(5);
  kernels_.router_logits(x.data(), weight.data(), 5, kWidth, logits.data());
  for (int64_t offset = 1; offset < 16; ++offset) {
    std::vector<float> moved(kWidth + 16);
    std::ranges::copy(x, moved.begin() + offset);
    std::vector<float> dst(kWidth);
    kernels_.layer_norm_modulate(
        moved.data() + offset, weight.data(), weight.data(), kWidth, dst.data());
    EXPECT_EQ(dst, norm) << offset;
    std::vector<float> sums(5);
    kernels_.router_logits(moved.data() + offset, weight.data(), 5, kWidth, sums.data());
    EXPECT_EQ(sums, logits) << offset;
  }
}

TEST_P(RowKernelsTest, GatedResidualMatchesItsDefinition) {
  for (const int64_t width : kWidths) {
    const std::vector<float> src = normal_values(width, 1);
    const std::vector<float> gate = normal_values(width, 2);
    std::vector<float> x = normal_values(width, 3);
    std::vector<float> expected = x;
    ref::gated_residual(src.data(), gate.data(), 1, width, expected.data());
    kernels_.gated_residual(src.data(), gate.data(), width, x.data());
    EXPECT_TRUE(close(x, expected, 1e-6)) << width;
  }
}

TEST_P(RowKernelsTest, CombineMatchesItsDefinition) {
  const std::vector<int32_t> slot = {6, 0, 3, 3, 5};
  const std::vector<float> weight = normal_values(5, 1);
  for (const int64_t width : kWidths) {
    const std::vector<float> experts = normal_values(7 * width, 2);
    const std::vector<float> everyone = normal_values(width, 3);
    const std::vector<float> gate = normal_values(width, 4);
    for (const int64_t top_k : {1, 2, 5}) {
      for (const bool shared : {false, true}) {
        std::vector<float> sum = shared ? everyone : std::vector<float>(everyone.size());
        ref::combine_experts(
            experts.data(), slot.data(), weight.data(), 1, top_k, width, sum.data());
        std::vector<float> x = normal_values(width, 5);
        std::vector<float> expected = x;
        ref::gated_residual(sum.data(), gate.data(), 1, width, expected.data());
        kernels_.combine(shared ? everyone.data() : nullptr,
                         experts.data(),
                         slot.data(),
                         weight.data(),
                         top_k,
                         gate.data(),
                         width,
                         x.data());
        EXPECT_TRUE(close(x, expected, 2e-6)) << width << " top " << top_k << " " << shared;
      }
    }
  }
}

TEST_P(RowKernelsTest, CombineAddsExpertsInTheirOrder) {
  constexpr int64_t kWidth = 65;  // one whole block, and one element beyond it
  std::vector<float> experts(3 * kWidth);
  std::fill_n(experts.begin(), kWidth, 1e8f);
  std::fill_n(experts.begin() + kWidth, kWidth, 1.0f);
  std::fill_n(experts.begin() + 2 * kWidth, kWidth, -1e8f);
  const std::vector<float> ones(kWidth, 1.0f);
  const auto combined = [&](const std::vector<int32_t>& slot) {
    std::vector<float> x(kWidth);
    kernels_.combine(
        nullptr, experts.data(), slot.data(), ones.data(), 3, ones.data(), kWidth, x.data());
    return x;
  };
  EXPECT_EQ(combined({0, 1, 2}), std::vector<float>(kWidth));  // 1e8 + 1 is 1e8
  EXPECT_EQ(combined({0, 2, 1}), ones);
}

TEST_P(RowKernelsTest, RouterLogitsMatchTheirDefinition) {
  for (const int64_t width : kWidths) {
    const std::vector<float> x = normal_values(width, 1);
    for (const int64_t experts : {1, 3, 4, 5, 8, 37}) {
      const std::vector<float> weight = normal_values(experts * width, 2);
      std::vector<float> expected(static_cast<size_t>(experts));
      ref::matmul(x.data(), 1, weight.data(), nullptr, experts, width, expected.data());
      std::vector<float> logits(expected.size());
      kernels_.router_logits(x.data(), weight.data(), experts, width, logits.data());
      EXPECT_TRUE(close(logits, expected, 1e-5)) << width << " x " << experts;
    }
  }
}

TEST_P(RowKernelsTest, NanWeightSpoilsOneLogit) {
  const std::vector<float> x = normal_values(17, 1);
  for (const size_t place : {0, 16}) {
    std::vector<float> weight = normal_values(6 * 17, 2);
    weight[2 * 17 + place] = kNan;
    std::vector<float> logits(6);
    kernels_.router_logits(x.data(), weight.data(), 6, 17, logits.data());
    for (size_t i = 0; i < 6; ++i) EXPECT_EQ(std::isnan(logits[i]), i == 2) << i;
  }
}

TEST_P(RowKernelsTest, SwigluMatchesItsDefinitionAndKeepsToItsColumns) {
  constexpr int64_t kRows = 3;
  for (const int64_t width : kWidths) {
    const int64_t stride = width + 2;
    const std::vector<float> src = normal_values(kRows * 2 * width, 3, 3.0f);
    std::vector<float> expected(static_cast<size_t>(kRows * stride), -7.0f);
    std::vector<float> dst = expected;
    std::vector<BFloat16> rounded(dst.size(), base::to_bfloat16(-7.0f));
    ref::swiglu(src.data(), kRows, width, expected.data(), stride);
    kernels_.swiglu_f32(src.data(), kRows, width, dst.data(), stride);
    kernels_.swiglu_bf16(src.data(), kRows, width, rounded.data(), stride);
    EXPECT_TRUE(close(dst, expected, 1e-6)) << width;
    const std::vector<float> wide = widened(rounded);
    for (size_t i = 0; i < expected.size(); ++i) {
      EXPECT_NEAR(wide[i], expected[i], kBf16Error * std::abs(expected[i])) << i << " of " << width;
    }
    for (int64_t i = 0; i < kRows * stride; ++i) {
      if (i % stride < width) continue;
      EXPECT_EQ(dst[i], -7.0f) << i;
      EXPECT_EQ(wide[i], -7.0f) << i;
    }
    std::vector<float> alone(static_cast<size_t>(width));
    kernels_.swiglu_f32(src.data() + 2 * 2 * width, 1, width, alone.data(), width);
    EXPECT_TRUE(std::equal(alone.begin(), alone.end(), dst.begin() + 2 * stride)) << width;
  }
}

TEST_P(RowKernelsTest, SwigluAtTheEnds) {
  // The last of each 17 is what the vector loop leaves over.
  for (const size_t place : {0, 16}) {
    const auto of = [&](float gate, float up) {
      std::vector<float> src(2 * 17, 1.0f);
      src[place] = gate;
      src[17 + place] = up;
      std::vector<float> dst(17);
      std::vector<BFloat16> rounded(17);
      kernels_.swiglu_f32(src.data(), 1, 17, dst.data(), 17);
      kernels_.swiglu_bf16(src.data(), 1, 17, rounded.data(), 17);
      EXPECT_EQ(std::isnan(dst[place]), std::isnan(base::to_float(rounded[place])));
      return dst[place];
    };
    EXPECT_EQ(of(1e30f, 2.0f), 2e30f);
    EXPECT_EQ(of(-200.0f, 3.0f), 0.0f);
    EXPECT_TRUE(std::isnan(of(kNan, 1.0f)));
    EXPECT_TRUE(std::isnan(of(1.0f, kNan)));
    EXPECT_EQ(of(kInfinity, 1.0f), kInfinity);
  }
}

TEST_P(RowKernelsTest, GeluMatchesItsDefinition) {
  for (const int64_t width : kWidths) {
    const std::vector<float> src = normal_values(width, 2, 4.0f);
    std::vector<float> expected(src.size());
    ref::gelu_tanh(src.data(), width, expected.data());
    std::vector<float> dst(src.size());
    std::vector<BFloat16> rounded(src.size());
    kernels_.gelu_f32(src.data(), width, dst.data());
    kernels_.gelu_bf16(src.data(), width, rounded.data());
    EXPECT_TRUE(close(dst, expected, 1e-6)) << width;
    EXPECT_TRUE(close(widened(rounded), expected, kBf16Error)) << width;
  }
}

TEST_P(RowKernelsTest, GeluAtTheEnds) {
  const std::vector<float> src = {1e4f, -1e4f, kNan, kInfinity, 1e20f, -1e20f, 0.0f};
  std::vector<float> dst(src.size());
  kernels_.gelu_f32(src.data(), 7, dst.data());
  std::vector<BFloat16> rounded(src.size());
  kernels_.gelu_bf16(src.data(), 7, rounded.data());
  const std::vector<float> wide = widened(rounded);
  EXPECT_EQ(dst[0], 1e4f);
  EXPECT_TRUE(std::isnan(dst[2]));
  EXPECT_TRUE(std::isnan(wide[2]));
  EXPECT_EQ(dst[3], kInfinity);
  EXPECT_EQ(wide[3], kInfinity);
  EXPECT_EQ(dst[4], 1e20f);
  for (const size_t i : {1, 5, 6}) {
    EXPECT_EQ(dst[i], 0.0f) << i;
    EXPECT_EQ(wide[i], 0.0f) << i;
  }
}

TEST_P(RowKernelsTest, NothingIsWrittenForNoRows) {
  float untouched = 5.0f;
  BFloat16 bits = {0x1234};
  kernels_.gated_residual(nullptr, nullptr, 0, &untouched);
  kernels_.combine(nullptr, nullptr, nullptr, nullptr, 2, nullptr, 0, &untouched);
  kernels_.router_logits(nullptr, nullptr, 0, 16, &untouched);
  kernels_.swiglu_f32(nullptr, 0, 16, &untouched, 16);
  kernels_.gelu_f32(nullptr, 0, &untouched);
  kernels_.dequantize(nullptr, 1.0f, {}, nullptr, 0, &untouched);
  kernels_.swiglu_bf16(nullptr, 0, 16, &bits, 16);
  kernels_.gelu_bf16(nullptr, 0, &bits);
  kernels_.to_bf16(nullptr, 0, &bits);
  EXPECT_EQ(untouched, 5.0f);
  EXPECT_EQ(bits.bits, 0x1234);
}

}  // namespace
}  // namespace ditmoe::kernels
