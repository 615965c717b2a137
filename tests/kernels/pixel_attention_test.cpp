#include "ditmoe/kernels/pixel_attention.h"

#include <cmath>
#include <limits>
#include <vector>

#include <gtest/gtest.h>

#include "ditmoe/kernels/ref/attention.h"

#include "tests/support/arrays.h"
#include "tests/support/isa.h"

namespace ditmoe::kernels {
namespace {

using tests::close;
using tests::normal_values;

constexpr double kF32Error = 2e-5;
constexpr double kBf16Error = 2e-2;

std::vector<float> compute(const std::vector<float>& qkv,
                           int64_t pixels,
                           int64_t channels,
                           Precision precision,
                           base::Isa isa,
                           int threads) {
  base::ThreadPool pool(threads);
  Matmul matmul(pool.size(), isa);
  PixelAttention attention(pool, matmul, map_kernels(isa));
  std::vector<float> dst(static_cast<size_t>(pixels * channels), -7.0f);
  attention.run(qkv.data(), pixels, channels, precision, dst.data());
  return dst;
}

std::vector<float> expected_of(const std::vector<float>& qkv, int64_t pixels, int64_t channels) {
  std::vector<float> dst(static_cast<size_t>(pixels * channels));
  ref::attention(qkv.data(), {pixels, 1, channels}, 0, nullptr, dst.data());
  return dst;
}

class PixelAttentionTest : public tests::IsaTest {};

INSTANTIATE_TEST_SUITE_P(Isa, PixelAttentionTest, tests::isa_levels(), tests::isa_level_name);

TEST_P(PixelAttentionTest, MatchesItsDefinition) {
  // One pixel, less than a chunk of keys, exactly one, one more, several tiles of queries.
  for (const int64_t pixels : {1, 35, 512, 513, 700}) {
    for (const int64_t channels : {32, 96}) {
      const std::vector<float> qkv = normal_values(pixels * 3 * channels, 1, 2.0f);
      const std::vector<float> expected = expected_of(qkv, pixels, channels);
      EXPECT_TRUE(close(
          compute(qkv, pixels, channels, Precision::kF32, GetParam(), 2), expected, kF32Error))
          << pixels << " " << channels;
      EXPECT_TRUE(close(
          compute(qkv, pixels, channels, Precision::kBf16, GetParam(), 2), expected, kBf16Error))
          << pixels << " " << channels;
    }
  }
}

TEST_P(PixelAttentionTest, PeaksInLaterChunksReplaceThoseBefore) {
  constexpr int64_t kPixels = 1100;
  constexpr int64_t kChannels = 32;
  std::vector<float> qkv = normal_values(kPixels * 3 * kChannels, 2);
  // The keys grow with their number: each chunk has larger scores, of both signs, than the last.
  for (int64_t pixel = 0; pixel < kPixels; ++pixel) {
    float* key = qkv.data() + (pixel * 3 + 1) * kChannels;
    for (int64_t c = 0; c < kChannels; ++c) key[c] *= 0.05f * static_cast<float>(pixel);
  }
  EXPECT_TRUE(close(compute(qkv, kPixels, kChannels, Precision::kF32, GetParam(), 2),
                    expected_of(qkv, kPixels, kChannels),
                    1e-4));
}

TEST_P(PixelAttentionTest, ANanInAQueryStaysInItsPixel) {
  constexpr int64_t kPixels = 530;
  constexpr int64_t kChannels = 32;
  std::vector<float> qkv = normal_values(kPixels * 3 * kChannels, 3);
  const auto clean = compute(qkv, kPixels, kChannels, Precision::kF32, GetParam(), 1);
  qkv[7 * 3 * kChannels + 5] = std::numeric_limits<float>::quiet_NaN();
  const auto dirty = compute(qkv, kPixels, kChannels, Precision::kF32, GetParam(), 1);
  for (size_t i = 0; i < clean.size(); ++i) {
    if (i / kChannels == 7) {
      ASSERT_TRUE(std::isnan(dirty[i])) << i;
    } else {
      ASSERT_EQ(dirty[i], clean[i]) << i;
    }
  }
}

TEST_P(PixelAttentionTest, BitsDoNotDependOnThreads) {
  const std::vector<float> qkv = normal_values(600 * 3 * 64, 4);
  for (const Precision precision : {Precision::kF32, Precision::kBf16}) {
    EXPECT_EQ(compute(qkv, 600, 64, precision, GetParam(), 1),
              compute(qkv, 600, 64, precision, GetParam(), 3));
  }
}

}  // namespace
}  // namespace ditmoe::kernels
