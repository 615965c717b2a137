#include "ditmoe/kernels/attention_gradient.h"

#include <cmath>
#include <vector>

#include <gtest/gtest.h>

#include "ditmoe/kernels/ref/attention.h"
#include "ditmoe/kernels/ref/bfloat16.h"
#include "ditmoe/kernels/ref/gradients.h"

#include "tests/support/arrays.h"

namespace ditmoe::kernels {
namespace {

using base::BFloat16;
using tests::close;
using tests::normal_values;

// Inputs of one image, and vectors of qk-norm with their gradients.
struct Example {
  Example(const AttentionShape& the_shape, bool has_norm)
      : shape(the_shape),
        qkv(normal_values(shape.tokens * 3 * shape.width(), 1)),
        dout(normal_values(shape.tokens * shape.width(), 2)),
        norm_values(normal_values(4 * shape.head_dim, 3)),
        dnorm_values(norm_values.size()),
        dqkv(qkv.size()) {
    float* n = norm_values.data();
    float* d = dnorm_values.data();
    const int64_t dim = shape.head_dim;
    norm = {n, n + dim, n + 2 * dim, n + 3 * dim};
    dnorm = {d, d + dim, d + 2 * dim, d + 3 * dim};
    norm_pointer = has_norm ? &norm : nullptr;
    dnorm_pointer = has_norm ? &dnorm : nullptr;
  }

  void run_reference() {
    for (int64_t head = 0; head < shape.heads; ++head) {
      ref::attention_gradient(
          qkv.data(), dout.data(), shape, head, norm_pointer, dnorm_pointer, dqkv.data());
    }
  }

  template <typename T>
  void run(const T* src, const T* d, T* dst) {
    Gemm gemm;
    AttentionGradientWorkspace workspace;
    for (int64_t head = 0; head < shape.heads; ++head) {
      attention_gradient<T>(src,
                            d,
                            shape,
                            head,
                            norm_pointer,
                            dnorm_pointer,
                            gradient_kernels(),
                            gemm,
                            workspace,
                            dst);
    }
  }

  // Σ dout · attention(qkv) in f64.
  double loss() const {
    std::vector<float> out(dout.size());
    for (int64_t head = 0; head < shape.heads; ++head) {
      ref::attention(qkv.data(), shape, head, norm_pointer, out.data());
    }
    double sum = 0;
    for (size_t i = 0; i < out.size(); ++i) sum += static_cast<double>(out[i]) * dout[i];
    return sum;
  }

  AttentionShape shape;
  std::vector<float> qkv, dout, norm_values, dnorm_values, dqkv;
  QkNorm norm;
  QkNormGradient dnorm;
  const QkNorm* norm_pointer;
  const QkNormGradient* dnorm_pointer;
};

std::vector<AttentionShape> shapes() {
  return {{1, 1, 1}, {1, 2, 64}, {2, 1, 3}, {17, 3, 8}, {128, 1, 16}, {129, 2, 72}, {300, 1, 40}};
}

TEST(AttentionGradientTest, DefinitionAgreesWithFiniteDifferences) {
  for (const bool has_norm : {false, true}) {
    Example example({5, 2, 6}, has_norm);
    example.run_reference();
    constexpr float kStep = 1e-2f;
    const auto check = [&](std::vector<float>& values, const std::vector<float>& gradient) {
      for (size_t i = 0; i < values.size(); i += 7) {
        const float kept = values[i];
        values[i] = kept + kStep;
        const double above = example.loss();
        values[i] = kept - kStep;
        const double below = example.loss();
        values[i] = kept;
        EXPECT_NEAR((above - below) / (2 * kStep), gradient[i], 5e-3) << i;
      }
    };
    check(example.qkv, example.dqkv);
    if (has_norm) check(example.norm_values, example.dnorm_values);
  }
}

TEST(AttentionGradientTest, MatchesItsDefinition) {
  for (const AttentionShape& shape : shapes()) {
    for (const bool has_norm : {false, true}) {
      SCOPED_TRACE(::testing::Message()
                   << shape.tokens << " tokens, " << shape.heads << " heads of " << shape.head_dim
                   << (has_norm ? ", normalised" : ""));
      Example expected(shape, has_norm);
      expected.run_reference();
      Example actual(shape, has_norm);
      actual.run(actual.qkv.data(), actual.dout.data(), actual.dqkv.data());
      EXPECT_TRUE(close(actual.dqkv, expected.dqkv, 5e-5));
      EXPECT_TRUE(close(actual.dnorm_values, expected.dnorm_values, 5e-5));
    }
  }
}

TEST(AttentionGradientTest, Bfloat16IsNearIt) {
  for (const AttentionShape& shape : shapes()) {
    SCOPED_TRACE(shape.tokens);
    Example example(shape, false);
    std::vector<BFloat16> qkv(example.qkv.size()), dout(example.dout.size()), dqkv(qkv.size());
    ref::to_bf16(example.qkv.data(), static_cast<int64_t>(qkv.size()), qkv.data());
    ref::to_bf16(example.dout.data(), static_cast<int64_t>(dout.size()), dout.data());
    example.qkv = tests::widened(qkv);
    example.dout = tests::widened(dout);
    example.run_reference();
    example.run(qkv.data(), dout.data(), dqkv.data());
    EXPECT_TRUE(close(tests::widened(dqkv), example.dqkv, 1.5e-2));
  }
}

TEST(AttentionGradientTest, AWorkspaceMayServeShapeAfterShape) {
  Gemm gemm;
  AttentionGradientWorkspace workspace;
  for (const AttentionShape& shape : {AttentionShape{300, 1, 40}, AttentionShape{17, 1, 8}}) {
    Example example(shape, false);
    example.run_reference();
    std::vector<float> dqkv(example.qkv.size());
    attention_gradient<float>(example.qkv.data(),
                              example.dout.data(),
                              shape,
                              0,
                              nullptr,
                              nullptr,
                              gradient_kernels(),
                              gemm,
                              workspace,
                              dqkv.data());
    EXPECT_TRUE(close(dqkv, example.dqkv, 5e-5));
  }
}

}  // namespace
}  // namespace ditmoe::kernels
