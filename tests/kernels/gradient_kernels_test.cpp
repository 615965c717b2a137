#include "ditmoe/kernels/gradient_kernels.h"

#include <vector>

#include <gtest/gtest.h>

#include "ditmoe/kernels/ref/bfloat16.h"
#include "ditmoe/kernels/ref/gradients.h"
#include "ditmoe/kernels/ref/layer_norm.h"

#include "tests/support/arrays.h"

namespace ditmoe::kernels {
namespace {

using base::BFloat16;
using tests::close;
using tests::normal_values;

constexpr int64_t kWidths[] = {1, 2, 15, 16, 17, 64, 100, 384, 1408};

std::vector<BFloat16> rounded(const std::vector<float>& src) {
  std::vector<BFloat16> dst(src.size());
  ref::to_bf16(src.data(), static_cast<int64_t>(src.size()), dst.data());
  return dst;
}

struct NormResult {
  explicit NormResult(int64_t width)
      : dx(static_cast<size_t>(width)),
        dfactor(normal_values(width, 8)),
        dshift(normal_values(width, 9)) {}

  std::vector<float> dx, dfactor, dshift;
};

void expect_close(const NormResult& actual, const NormResult& expected) {
  EXPECT_TRUE(close(actual.dx, expected.dx, 2e-5));
  EXPECT_TRUE(close(actual.dfactor, expected.dfactor, 1e-5));
  EXPECT_TRUE(close(actual.dshift, expected.dshift, 1e-5));
}

TEST(GradientKernelsTest, NormsMatchTheirDefinitions) {
  const GradientKernels& loops = gradient_kernels();
  for (const int64_t width : kWidths) {
    if (width <= 2) continue;  // a norm of one or two numbers has no gradient but rounding
    SCOPED_TRACE(width);
    const auto x = normal_values(width, 1, 3.0f);
    const auto scale = normal_values(width, 2, 0.5f);
    const auto dy = normal_values(width, 3);
    std::vector<float> factor = scale;
    for (float& f : factor) f += 1.0f;
    NormResult expected(width);
    ref::layer_norm_backward(x.data(),
                             factor.data(),
                             dy.data(),
                             width,
                             expected.dx.data(),
                             expected.dfactor.data(),
                             expected.dshift.data());
    NormResult modulated(width);
    loops.layer_norm_modulate(x.data(),
                              scale.data(),
                              dy.data(),
                              width,
                              modulated.dx.data(),
                              modulated.dshift.data(),
                              modulated.dfactor.data());
    expect_close(modulated, expected);
    NormResult affine(width);
    affine.dx = dy;  // in place
    loops.layer_norm_affine(x.data(),
                            factor.data(),
                            affine.dx.data(),
                            width,
                            affine.dx.data(),
                            affine.dfactor.data(),
                            affine.dshift.data());
    expect_close(affine, expected);
  }
}

TEST(GradientKernelsTest, AffineNormForwardMatchesItsDefinition) {
  for (const int64_t width : kWidths) {
    const auto weight = normal_values(width, 2);
    const auto bias = normal_values(width, 3);
    auto x = normal_values(width, 1, 3.0f);
    std::vector<float> expected(x.size());
    ref::layer_norm_affine(
        x.data(), width, weight.data(), bias.data(), 1, width, expected.data(), width);
    gradient_kernels().layer_norm_affine_forward(
        x.data(), weight.data(), bias.data(), width, x.data());
    EXPECT_TRUE(close(x, expected, 1e-5)) << width;
  }
}

TEST(GradientKernelsTest, GatedResidualIsTheProductRule) {
  for (const int64_t width : kWidths) {
    const auto update = normal_values(width, 1);
    const auto gate = normal_values(width, 2);
    const auto dy = normal_values(width, 3);
    std::vector<float> dupdate(update.size());
    std::vector<float> dgate(update.size(), 1.0f);
    gradient_kernels().gated_residual(
        update.data(), gate.data(), dy.data(), width, dupdate.data(), dgate.data());
    for (size_t i = 0; i < update.size(); ++i) {
      EXPECT_FLOAT_EQ(dupdate[i], gate[i] * dy[i]);
      EXPECT_NEAR(dgate[i], 1.0f + dy[i] * update[i], 1e-6);
    }
  }
}

TEST(GradientKernelsTest, SwigluMatchesItsDefinition) {
  for (const int64_t width : kWidths) {
    SCOPED_TRACE(width);
    const auto gate_up = normal_values(2 * width, 1, 2.0f);
    const auto dhidden = normal_values(width, 2);
    std::vector<float> dgate_up(gate_up.size()), weighted(dhidden.size());
    const float dweight = ref::swiglu_backward(
        gate_up.data(), dhidden.data(), 0.7f, width, dgate_up.data(), weighted.data());
    auto in_place = gate_up;
    auto own = dhidden;
    const float slope = gradient_kernels().swiglu_f32.backward(
        in_place.data(), own.data(), 0.7f, width, in_place.data(), own.data());
    EXPECT_NEAR(slope, dweight, 1e-4 * static_cast<double>(width));
    EXPECT_TRUE(close(in_place, dgate_up, 1e-5));
    EXPECT_TRUE(close(own, weighted, 1e-5));

    std::vector<float> hidden(dhidden.size());
    gradient_kernels().swiglu_f32.forward(gate_up.data(), 1, width, hidden.data());
    for (float& h : hidden) h *= 0.7f;
    EXPECT_TRUE(close(hidden, weighted, 1e-5));
  }
}

TEST(GradientKernelsTest, SwigluInBfloat16RoundsOnceAtTheEnd) {
  for (const int64_t width : kWidths) {
    SCOPED_TRACE(width);
    const auto gate_up = rounded(normal_values(2 * width, 1, 2.0f));
    const auto dhidden = rounded(normal_values(width, 2));
    std::vector<float> dgate_up(gate_up.size()), weighted(dhidden.size());
    const float dweight = ref::swiglu_backward(tests::widened(gate_up).data(),
                                               tests::widened(dhidden).data(),
                                               0.7f,
                                               width,
                                               dgate_up.data(),
                                               weighted.data());
    std::vector<BFloat16> half_dgate_up(gate_up.size()), half_weighted(dhidden.size());
    const float slope = gradient_kernels().swiglu_bf16.backward(
        gate_up.data(), dhidden.data(), 0.7f, width, half_dgate_up.data(), half_weighted.data());
    EXPECT_NEAR(slope, dweight, 1e-4 * static_cast<double>(width));
    EXPECT_TRUE(close(tests::widened(half_dgate_up), dgate_up, 4e-3));
    EXPECT_TRUE(close(tests::widened(half_weighted), weighted, 4e-3));
  }
}

TEST(GradientKernelsTest, SoftmaxMatchesItsDefinition) {
  for (const int64_t size : kWidths) {
    SCOPED_TRACE(size);
    auto scores = normal_values(size, 1, 20.0f);
    const auto dp = normal_values(size, 2);
    std::vector<float> p(dp.size()), ds(dp.size()), expected_p(dp.size()), expected_ds(dp.size());
    ref::softmax_backward(
        scores.data(), dp.data(), 0.3f, size, expected_p.data(), expected_ds.data());
    auto again = scores;
    gradient_kernels().softmax_f32.backward(
        scores.data(), dp.data(), 0.3f, size, p.data(), ds.data());
    EXPECT_TRUE(close(p, expected_p, 1e-5));
    for (size_t i = 0; i < ds.size(); ++i) EXPECT_NEAR(ds[i], expected_ds[i], 1e-6);
    std::vector<BFloat16> half_p(dp.size()), half_ds(dp.size());
    gradient_kernels().softmax_bf16.backward(
        again.data(), dp.data(), 0.3f, size, half_p.data(), half_ds.data());
    EXPECT_TRUE(close(tests::widened(half_p), expected_p, 4e-3));
  }
}

}  // namespace
}  // namespace ditmoe::kernels
