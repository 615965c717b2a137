#include "ditmoe/kernels/gemm.h"

#include <cmath>
#include <limits>
#include <omp.h>
#include <vector>

#include <gtest/gtest.h>

#include "ditmoe/kernels/ref/bfloat16.h"
#include "ditmoe/kernels/ref/matmul.h"

#include "tests/support/arrays.h"

namespace ditmoe::kernels {
namespace {

using base::BFloat16;

std::vector<float> transposed(const std::vector<float>& src, int64_t rows, int64_t columns) {
  std::vector<float> dst(src.size());
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = 0; c < columns; ++c) {
      dst[static_cast<size_t>(c * rows + r)] = src[static_cast<size_t>(r * columns + c)];
    }
  }
  return dst;
}

std::vector<BFloat16> rounded(const std::vector<float>& src) {
  std::vector<BFloat16> dst(src.size());
  ref::to_bf16(src.data(), static_cast<int64_t>(src.size()), dst.data());
  return dst;
}

// Operands of a shape, and the product by its definition.
struct Case {
  explicit Case(const GemmShape& the_shape) : shape(the_shape) {
    const bool is_half = shape.operands == base::DType::kBF16;
    a = tests::normal_values(shape.rows * shape.inner, 1);
    b = tests::normal_values(shape.inner * shape.columns, 2);
    if (is_half) {
      a = tests::widened(rounded(a));
      b = tests::widened(rounded(b));
    }
    bias = tests::normal_values(shape.columns, 3);
    before = tests::normal_values(shape.rows * shape.columns, 4);
    expected.resize(before.size());
    const std::vector<float> weight = transposed(b, shape.inner, shape.columns);
    ref::matmul(a.data(),
                shape.rows,
                weight.data(),
                shape.bias ? bias.data() : nullptr,
                shape.columns,
                shape.inner,
                expected.data());
    for (size_t i = 0; shape.accumulate && i < before.size(); ++i) expected[i] += before[i];
  }

  std::vector<float> run(Gemm& gemm) const {
    const auto stored_a = shape.transposed_a ? transposed(a, shape.rows, shape.inner) : a;
    const auto stored_b = shape.transposed_b ? transposed(b, shape.inner, shape.columns) : b;
    std::vector<float> c = before;
    if (shape.operands == base::DType::kF32) {
      gemm.run(shape, stored_a.data(), stored_b.data(), c.data(), bias.data());
      return c;
    }
    const auto half_a = rounded(stored_a);
    const auto half_b = rounded(stored_b);
    if (shape.result == base::DType::kF32) {
      gemm.run(shape, half_a.data(), half_b.data(), c.data(), bias.data());
      return c;
    }
    std::vector<BFloat16> half_c(c.size());
    gemm.run(shape, half_a.data(), half_b.data(), half_c.data(), bias.data());
    return tests::widened(half_c);
  }

  GemmShape shape;
  std::vector<float> a, b, bias, before, expected;
};

std::vector<GemmShape> shapes() {
  const std::vector<std::vector<int64_t>> sizes = {
      {1, 1, 1}, {1, 7, 3}, {16, 48, 64}, {17, 5, 33}, {96, 64, 1}, {130, 70, 257}};
  std::vector<GemmShape> all;
  for (const auto& size : sizes) {
    for (int flags = 0; flags < 16; ++flags) {
      GemmShape shape{size[0], size[1], size[2], (flags & 1) != 0, (flags & 2) != 0};
      shape.bias = (flags & 4) != 0;
      shape.accumulate = (flags & 8) != 0;
      all.push_back(shape);
      shape.operands = base::DType::kBF16;
      all.push_back(shape);
      if (shape.accumulate) continue;
      shape.result = base::DType::kBF16;
      all.push_back(shape);
    }
  }
  return all;
}

TEST(GemmTest, MatchesItsDefinitionForEveryForm) {
  Gemm gemm;
  for (const GemmShape& shape : shapes()) {
    SCOPED_TRACE(::testing::Message()
                 << shape.rows << "x" << shape.columns << "x" << shape.inner << " a^T "
                 << shape.transposed_a << " b^T " << shape.transposed_b << " + " << shape.accumulate
                 << " bias " << shape.bias << " " << base::name_of(shape.operands));
    const Case example(shape);
    const double tolerance = shape.result == base::DType::kF32 ? 1e-5 : 8e-3;
    EXPECT_TRUE(tests::close(example.run(gemm), example.expected, tolerance));
  }
}

TEST(GemmTest, AnEmptySumIsZeroAndAddsNothing) {
  Gemm gemm;
  std::vector<float> c(6, 5.0f);
  gemm.run({.rows = 2, .columns = 3, .accumulate = true}, nullptr, nullptr, c.data());
  EXPECT_EQ(c, std::vector<float>(6, 5.0f));
  gemm.run({.rows = 2, .columns = 3}, nullptr, nullptr, c.data());
  EXPECT_EQ(c, std::vector<float>(6, 0.0f));
  gemm.run({.rows = 0, .columns = 3, .inner = 4}, nullptr, nullptr, nullptr);
}

TEST(GemmTest, ANanStaysInItsRow) {
  Gemm gemm;
  Case example({.rows = 5, .columns = 20, .inner = 40, .transposed_b = true});
  example.a[2 * 40 + 7] = std::numeric_limits<float>::quiet_NaN();
  const std::vector<float> c = example.run(gemm);
  for (size_t i = 0; i < c.size(); ++i) EXPECT_EQ(std::isnan(c[i]), i / 20 == 2) << i;
}

TEST(GemmTest, CallsInsideAParallelRegionDoNotDisturbEachOther) {
  Gemm gemm;
  const Case example({.rows = 33, .columns = 20, .inner = 40, .transposed_b = true});
  std::vector<std::vector<float>> results(16);
#pragma omp parallel for num_threads(4)
  for (size_t i = 0; i < results.size(); ++i) results[i] = example.run(gemm);
  for (const auto& result : results) {
    EXPECT_TRUE(tests::close(result, example.expected, 1e-5));
    EXPECT_EQ(result, results[0]);
  }
}

}  // namespace
}  // namespace ditmoe::kernels
