#include "ditmoe/kernels/position_embedding.h"

#include <vector>

#include <gtest/gtest.h>

#include "ditmoe/kernels/ref/position_embedding.h"

#include "tests/support/arrays.h"

namespace ditmoe::kernels {
namespace {

TEST(PositionEmbeddingTest, MatchesItsDefinition) {
  for (const int64_t grid : {1, 7, 16}) {
    for (const int64_t width : {4, 32, 384}) {
      std::vector<float> expected(static_cast<size_t>(grid * grid * width));
      std::vector<float> dst(expected.size());
      ref::sincos_position_embedding(grid, width, expected);
      sincos_position_embedding(grid, width, dst);
      EXPECT_TRUE(tests::close(dst, expected, 1e-6)) << grid << " " << width;
    }
  }
}

TEST(PositionEmbeddingTest, FirstHalfChangesAlongTheRow) {
  std::vector<float> dst(2 * 2 * 8);
  sincos_position_embedding(2, 8, dst);
  const float* right = dst.data() + 8;  // token (h 0, w 1)
  EXPECT_FLOAT_EQ(right[0], 0.841470985f);
  EXPECT_EQ(right[4], 0.0f);
  const float* below = dst.data() + 16;  // token (h 1, w 0)
  EXPECT_EQ(below[0], 0.0f);
  EXPECT_FLOAT_EQ(below[4], 0.841470985f);
}

}  // namespace
}  // namespace ditmoe::kernels
