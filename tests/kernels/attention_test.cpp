#include "ditmoe/kernels/attention.h"

#include <cmath>
#include <limits>
#include <vector>

#include <gtest/gtest.h>

#include "ditmoe/kernels/ref/attention.h"

#include "tests/support/arrays.h"

namespace ditmoe::kernels {
namespace {

using tests::normal_values;

std::vector<float> attend(const std::vector<float>& qkv,
                          const AttentionShape& shape,
                          const QkNorm* norm) {
  std::vector<float> workspace(static_cast<size_t>(attention_workspace(shape, norm != nullptr)));
  std::vector<float> dst(static_cast<size_t>(shape.tokens * shape.width()));
  for (int64_t head = 0; head < shape.heads; ++head) {
    attention(qkv.data(), shape, head, norm, workspace, dst.data());
  }
  return dst;
}

struct NormWeights {
  explicit NormWeights(int64_t dim)
      : values(normal_values(4 * dim, 9)),
        norm{&values[0], &values[dim], &values[2 * dim], &values[3 * dim]} {}

  std::vector<float> values;
  QkNorm norm;
};

TEST(AttentionTest, MatchesItsDefinition) {
  for (const AttentionShape shape : {AttentionShape{1, 1, 8},
                                     AttentionShape{16, 4, 16},
                                     AttentionShape{49, 3, 64},
                                     AttentionShape{130, 2, 72},
                                     AttentionShape{257, 1, 88},
                                     AttentionShape{5, 2, 3}}) {
    const NormWeights weights(shape.head_dim);
    const std::vector<float> qkv = normal_values(shape.tokens * 3 * shape.width(), 1, 1.5f);
    for (const QkNorm* norm : {static_cast<const QkNorm*>(nullptr), &weights.norm}) {
      std::vector<float> expected(static_cast<size_t>(shape.tokens * shape.width()));
      for (int64_t head = 0; head < shape.heads; ++head) {
        ref::attention(qkv.data(), shape, head, norm, expected.data());
      }
      EXPECT_TRUE(tests::close(attend(qkv, shape, norm), expected, 1e-5))
          << shape.tokens << " tokens, head size " << shape.head_dim << ", norm "
          << (norm != nullptr);
    }
  }
}

TEST(AttentionTest, OneTokenReturnsItsValue) {
  const AttentionShape shape{1, 2, 4};
  const std::vector<float> qkv = normal_values(3 * 8, 2);
  EXPECT_EQ(attend(qkv, shape, nullptr), std::vector<float>(qkv.begin() + 16, qkv.end()));
}

TEST(AttentionTest, NanQueryStaysInItsRow) {
  const AttentionShape shape{6, 1, 8};
  std::vector<float> qkv = normal_values(6 * 24, 3);
  qkv[2 * 24] = std::numeric_limits<float>::quiet_NaN();
  const std::vector<float> dst = attend(qkv, shape, nullptr);
  for (int64_t i = 0; i < 6 * 8; ++i) {
    EXPECT_EQ(std::isnan(dst[i]), i / 8 == 2) << i;
  }
}

}  // namespace
}  // namespace ditmoe::kernels
