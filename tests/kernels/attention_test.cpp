#include "ditmoe/kernels/attention.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "ditmoe/base/dtype.h"
#include "ditmoe/kernels/ref/attention.h"
#include "ditmoe/kernels/ref/layer_norm.h"

#include "tests/support/arrays.h"

namespace ditmoe::kernels {
namespace {

using base::BFloat16;
using base::Isa;
using tests::normal_values;

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

// Every level this CPU has.
std::vector<Isa> levels() {
  std::vector<Isa> found;
  for (const Isa isa : {Isa::kAvx2, Isa::kAvx512, Isa::kAvx512Vnni, Isa::kAvx512Bf16}) {
    if (isa <= base::cpu_isa()) found.push_back(isa);
  }
  return found;
}

template <typename T>
std::vector<T> stored(const std::vector<float>& values) {
  std::vector<T> result(values.size());
  std::transform(values.begin(), values.end(), result.begin(), [](float value) {
    if constexpr (std::is_same_v<T, BFloat16>) {
      return base::to_bfloat16(value);
    } else {
      return value;
    }
  });
  return result;
}

std::vector<float> widened(const std::vector<float>& values) { return values; }

std::vector<float> widened(const std::vector<BFloat16>& values) {
  std::vector<float> result(values.size());
  std::transform(values.begin(), values.end(), result.begin(), [](BFloat16 value) {
    return base::to_float(value);
  });
  return result;
}

struct NormWeights {
  explicit NormWeights(int64_t dim)
      : values(normal_values(4 * dim, 9)),
        norm{&values[0], &values[dim], &values[2 * dim], &values[3 * dim]} {}

  std::vector<float> values;
  QkNorm norm;
};

// All heads in a workspace that holds nothing but NaN, so that reading what was not written shows.
template <typename T>
std::vector<float> attend(const std::vector<T>& qkv,
                          const AttentionShape& shape,
                          const QkNorm* norm,
                          Isa isa) {
  std::vector<float> workspace(static_cast<size_t>(attention_workspace(shape, norm != nullptr)));
  std::vector<T> dst(static_cast<size_t>(shape.tokens * shape.width()));
  for (int64_t head = 0; head < shape.heads; ++head) {
    std::fill(workspace.begin(), workspace.end(), kNan);
    attention<T>(qkv.data(), shape, head, norm, workspace, dst.data(), isa);
  }
  return widened(dst);
}

std::vector<float> expected(const std::vector<float>& qkv,
                            const AttentionShape& shape,
                            const QkNorm* norm) {
  std::vector<float> dst(static_cast<size_t>(shape.tokens * shape.width()));
  for (int64_t head = 0; head < shape.heads; ++head) {
    ref::attention(qkv.data(), shape, head, norm, dst.data());
  }
  return dst;
}

// What the definition makes of bfloat16: normalised queries and keys are rounded to it.
std::vector<float> expected(const std::vector<BFloat16>& qkv,
                            const AttentionShape& shape,
                            const QkNorm* norm) {
  std::vector<float> values = widened(qkv);
  if (norm == nullptr) return expected(values, shape, nullptr);
  const int64_t dim = shape.head_dim;
  std::vector<float> row(static_cast<size_t>(dim));
  for (int64_t i = 0; i < shape.tokens * 3 * shape.heads; ++i) {
    const int64_t part = i / shape.heads % 3;
    if (part == 2) continue;
    const float* weight = part == 0 ? norm->q_weight : norm->k_weight;
    const float* bias = part == 0 ? norm->q_bias : norm->k_bias;
    ref::layer_norm_affine(&values[i * dim], dim, weight, bias, 1, dim, row.data(), dim);
    const std::vector<float> rounded = widened(stored<BFloat16>(row));
    std::copy(rounded.begin(), rounded.end(), &values[i * dim]);
  }
  return expected(values, shape, nullptr);
}

// Squared error over squared truth.
double nmse(const std::vector<float>& actual, const std::vector<float>& truth) {
  double error = 0.0;
  double power = 0.0;
  for (size_t i = 0; i < truth.size(); ++i) {
    error += std::pow(static_cast<double>(actual[i]) - truth[i], 2);
    power += std::pow(static_cast<double>(truth[i]), 2);
  }
  return error / power;
}

std::string name_of(const AttentionShape& shape, const QkNorm* norm, Isa isa) {
  return std::to_string(shape.tokens) + " tokens, head size " + std::to_string(shape.head_dim) +
         (norm != nullptr ? ", norm, " : ", ") + std::string(base::name_of(isa));
}

// Every head size of the networks and around them with one number of tokens, and the other way
// round: tokens and dims that fill, half fill and just overflow registers and tiles.
std::vector<AttentionShape> shapes() {
  std::vector<AttentionShape> result;
  for (const int64_t dim : {1, 2, 3, 8, 16, 32, 64, 72, 88, 100}) {
    result.push_back({49, 2, dim});
  }
  for (const int64_t tokens : {1, 2, 5, 8, 16, 17, 33, 64, 97, 130, 256, 257}) {
    result.push_back({tokens, 2, 72});
    result.push_back({tokens, 1, 5});
  }
  result.push_back({1024, 1, 64});
  return result;
}

TEST(AttentionTest, F32MatchesItsDefinition) {
  for (const AttentionShape& shape : shapes()) {
    const NormWeights weights(shape.head_dim);
    const std::vector<float> qkv = normal_values(shape.tokens * 3 * shape.width(), 1, 1.5f);
    for (const QkNorm* norm : {static_cast<const QkNorm*>(nullptr), &weights.norm}) {
      const std::vector<float> truth = expected(qkv, shape, norm);
      for (const Isa isa : levels()) {
        EXPECT_TRUE(tests::close(attend(qkv, shape, norm, isa), truth, 1e-5))
            << name_of(shape, norm, isa);
      }
    }
  }
}

TEST(AttentionTest, Bf16MatchesItsDefinition) {
  for (const AttentionShape& shape : shapes()) {
    const NormWeights weights(shape.head_dim);
    const auto qkv = stored<BFloat16>(normal_values(shape.tokens * 3 * shape.width(), 1, 1.5f));
    for (const QkNorm* norm : {static_cast<const QkNorm*>(nullptr), &weights.norm}) {
      const std::vector<float> truth = expected(qkv, shape, norm);
      for (const Isa isa : levels()) {
        const std::vector<float> dst = attend(qkv, shape, norm, isa);
        // Rounding to bfloat16 errs by 2^-8 at most, 1.6e-3 in the mean: of the result alone where
        // the arithmetic is f32, else of the probabilities too. Now and then a normalised value is
        // rounded the other way, which moves a score.
        const bool f32 = isa < Isa::kAvx512Bf16;
        EXPECT_TRUE(tests::close(dst, truth, f32 && norm == nullptr ? 0.0039 : 0.01))
            << name_of(shape, norm, isa);
        EXPECT_LT(nmse(dst, truth), f32 ? 8e-6 : 1.2e-5) << name_of(shape, norm, isa);
      }
    }
  }
}

template <typename T>
class AttentionOfTest : public ::testing::Test {};

using Elements = ::testing::Types<float, BFloat16>;
TYPED_TEST_SUITE(AttentionOfTest, Elements);

TYPED_TEST(AttentionOfTest, OneTokenReturnsItsValue) {
  const AttentionShape shape{1, 2, 4};
  const auto qkv = stored<TypeParam>(normal_values(3 * 8, 2, 20.0f));
  const std::vector<float> values = widened(qkv);
  for (const Isa isa : levels()) {
    EXPECT_EQ(attend(qkv, shape, nullptr, isa),
              std::vector<float>(values.begin() + 16, values.end()))
        << base::name_of(isa);
  }
}

// Scores of ±10^4 - 25/32 j, both signs in every row, exact in either type.
TYPED_TEST(AttentionOfTest, LargeScoresNeitherOverflowNorBlur) {
  const AttentionShape shape{40, 1, 16};
  std::vector<float> qkv(static_cast<size_t>(shape.tokens * 48));
  for (int64_t token = 0; token < shape.tokens; ++token) {
    float* row = qkv.data() + token * 48;
    row[0] = token % 2 == 0 ? 200.0f : -200.0f;
    row[1] = 3.125f;
    row[16] = token % 3 == 0 ? -200.0f : 200.0f;
    row[17] = static_cast<float>(-token);
    row[32] = static_cast<float>(token);
  }
  const std::vector<float> truth = expected(qkv, shape, nullptr);
  const double tolerance = std::is_same_v<TypeParam, float> ? 1e-6 : 0.01;
  for (const Isa isa : levels()) {
    EXPECT_TRUE(tests::close(attend(stored<TypeParam>(qkv), shape, nullptr, isa), truth, tolerance))
        << base::name_of(isa);
  }
}

TYPED_TEST(AttentionOfTest, NanQueryStaysInItsRow) {
  const AttentionShape shape{21, 1, 8};
  const NormWeights weights(shape.head_dim);
  std::vector<float> qkv = normal_values(21 * 24, 3);
  qkv[18 * 24] = kNan;
  for (const QkNorm* norm : {static_cast<const QkNorm*>(nullptr), &weights.norm}) {
    for (const Isa isa : levels()) {
      const std::vector<float> dst = attend(stored<TypeParam>(qkv), shape, norm, isa);
      for (int64_t i = 0; i < 21 * 8; ++i) {
        ASSERT_EQ(std::isnan(dst[i]), i / 8 == 18) << i << " " << name_of(shape, norm, isa);
      }
    }
  }
}

TYPED_TEST(AttentionOfTest, NanKeyReachesEveryRowAndNanValueItsColumn) {
  const AttentionShape shape{21, 1, 8};
  const std::vector<float> clean = normal_values(21 * 24, 3);
  std::vector<float> key = clean;
  key[20 * 24 + 8] = kNan;
  std::vector<float> value = clean;
  value[20 * 24 + 16 + 5] = kNan;
  for (const Isa isa : levels()) {
    const std::vector<float> all = attend(stored<TypeParam>(key), shape, nullptr, isa);
    const std::vector<float> column = attend(stored<TypeParam>(value), shape, nullptr, isa);
    for (int64_t i = 0; i < 21 * 8; ++i) {
      ASSERT_TRUE(std::isnan(all[i])) << i << " " << base::name_of(isa);
      ASSERT_EQ(std::isnan(column[i]), i % 8 == 5) << i << " " << base::name_of(isa);
    }
  }
}

// The same head alone, and as the last of three at an odd address: other strides, another
// alignment, the same bits. What belongs to the other heads is left as it was.
TYPED_TEST(AttentionOfTest, BitsDependOnTheHeadAlone) {
  for (const auto& [tokens, dim] : {std::pair<int64_t, int64_t>{49, 32}, {130, 72}, {33, 5}}) {
    const AttentionShape alone{tokens, 1, dim};
    const AttentionShape among{tokens, 3, dim};
    const NormWeights weights(dim);
    const auto head = stored<TypeParam>(normal_values(tokens * 3 * dim, 4));
    const TypeParam other = stored<TypeParam>({kNan})[0];
    std::vector<TypeParam> heads(static_cast<size_t>(1 + tokens * 9 * dim), other);
    for (int64_t row = 0; row < tokens * 3; ++row) {
      std::copy_n(&head[row * dim], dim, &heads[1 + (row * 3 + 2) * dim]);
    }
    for (const QkNorm* norm : {static_cast<const QkNorm*>(nullptr), &weights.norm}) {
      const bool normed = norm != nullptr;
      std::vector<float> workspace(static_cast<size_t>(attention_workspace(among, normed)));
      for (const Isa isa : levels()) {
        const std::vector<float> first = attend(head, alone, norm, isa);
        std::vector<TypeParam> dst(static_cast<size_t>(tokens * 3 * dim), other);
        attention<TypeParam>(heads.data() + 1, among, 2, norm, workspace, dst.data(), isa);
        const std::vector<float> third = widened(dst);
        for (int64_t i = 0; i < tokens * 3 * dim; ++i) {
          const int64_t row = i / (3 * dim);
          const int64_t column = i % (3 * dim) - 2 * dim;
          if (column < 0) {
            ASSERT_TRUE(std::isnan(third[i])) << i << " " << name_of(among, norm, isa);
          } else {
            ASSERT_EQ(third[i], first[row * dim + column]) << i << " " << name_of(among, norm, isa);
          }
        }
      }
    }
  }
}

}  // namespace
}  // namespace ditmoe::kernels
