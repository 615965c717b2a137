#include "ditmoe/kernels/timestep_embedding.h"

#include <vector>

#include <gtest/gtest.h>

#include "ditmoe/kernels/ref/timestep_embedding.h"

#include "tests/support/arrays.h"

namespace ditmoe::kernels {
namespace {

TEST(TimestepEmbeddingTest, MatchesItsDefinition) {
  const std::vector<float> t = {0.0f, 0.25f, 1.0f, 17.0f, 999.0f};
  std::vector<float> expected(t.size() * kTimestepWidth);
  std::vector<float> dst(expected.size());
  ref::timestep_embedding(t.data(), 5, expected.data());
  timestep_embedding(t.data(), 5, dst.data());
  // Angles up to 999 rounded to f32 are off by up to 6e-8 · 999.
  EXPECT_TRUE(tests::close(dst, expected, 1e-4));
}

TEST(TimestepEmbeddingTest, CosinesComeFirst) {
  const float zero = 0.0f;
  std::vector<float> dst(kTimestepWidth);
  timestep_embedding(&zero, 1, dst.data());
  for (int64_t i = 0; i < kTimestepWidth; ++i) {
    EXPECT_EQ(dst[i], i < kTimestepWidth / 2 ? 1.0f : 0.0f);
  }
}

}  // namespace
}  // namespace ditmoe::kernels
