#include "ditmoe/kernels/gated_residual.h"

#include <vector>

#include <gtest/gtest.h>

#include "ditmoe/kernels/ref/gated_residual.h"

#include "tests/support/arrays.h"

namespace ditmoe::kernels {
namespace {

TEST(GatedResidualTest, MatchesItsDefinition) {
  constexpr int64_t kRows = 4;
  for (const int64_t width : {1, 9, 64, 131}) {
    const auto src = tests::normal_values(kRows * width, 1);
    const auto gate = tests::normal_values(width, 2);
    std::vector<float> x = tests::normal_values(kRows * width, 3);
    std::vector<float> expected = x;
    ref::gated_residual(src.data(), gate.data(), kRows, width, expected.data());
    gated_residual(src.data(), gate.data(), kRows, width, x.data());
    EXPECT_TRUE(tests::close(x, expected, 1e-6)) << width;
  }
}

}  // namespace
}  // namespace ditmoe::kernels
