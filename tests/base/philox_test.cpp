#include "ditmoe/base/philox.h"

#include <algorithm>
#include <cmath>
#include <set>
#include <vector>

#include <gtest/gtest.h>

namespace ditmoe::base {
namespace {

// The key whose block has the given Philox counter and key words.
struct KnownAnswer {
  std::array<uint32_t, 4> counter;
  std::array<uint32_t, 2> key;
  std::array<uint32_t, 4> expected;
};

// Random123's kat_vectors for philox4x32-10.
TEST(PhiloxTest, KnownAnswersOfRandom123) {
  const std::vector<KnownAnswer> answers = {
      {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
      {{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff},
       {0xffffffff, 0xffffffff},
       {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
      {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
       {0xa4093822, 0x299f31d0},
       {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}}};
  for (const auto& [counter, words, expected] : answers) {
    const RandomKey key = {.seed = uint64_t{words[1]} << 32 | words[0],
                           .index = uint64_t{counter[3]} << 32 | counter[2],
                           .stream = counter[1]};
    EXPECT_EQ(philox_block(key, counter[0]), expected);
  }
}

std::vector<float> normals(size_t count, const RandomKey& key) {
  std::vector<float> out(count);
  fill_normal(out, key);
  return out;
}

std::vector<float> uniforms(size_t count, const RandomKey& key) {
  std::vector<float> out(count);
  fill_uniform(out, key);
  return out;
}

double moment(const std::vector<float>& values, int power) {
  double sum = 0;
  for (const float value : values) sum += std::pow(static_cast<double>(value), power);
  return sum / static_cast<double>(values.size());
}

// Bounds are five standard errors of each moment for 2^20 draws.
TEST(PhiloxTest, NormalsHaveTheMomentsOfANormalDistribution) {
  const auto values = normals(size_t{1} << 20, {.seed = 1, .index = 2, .stream = 3});
  EXPECT_NEAR(moment(values, 1), 0.0, 5 * std::sqrt(1.0) / 1024);
  EXPECT_NEAR(moment(values, 2), 1.0, 5 * std::sqrt(2.0) / 1024);
  EXPECT_NEAR(moment(values, 3), 0.0, 5 * std::sqrt(15.0) / 1024);
  EXPECT_NEAR(moment(values, 4), 3.0, 5 * std::sqrt(96.0) / 1024);
  EXPECT_TRUE(std::all_of(values.begin(), values.end(), [](float v) { return std::isfinite(v); }));
}

TEST(PhiloxTest, NeighbouringNormalsAreUncorrelated) {
  const auto values = normals(size_t{1} << 20, {.seed = 9});
  for (const size_t lag : {1, 2, 3, 4}) {
    double sum = 0;
    for (size_t i = lag; i < values.size(); ++i) sum += double{values[i]} * values[i - lag];
    EXPECT_NEAR(sum / static_cast<double>(values.size()), 0.0, 5.0 / 1024) << "lag " << lag;
  }
}

TEST(PhiloxTest, UniformsFillTheHalfOpenUnitInterval) {
  const auto values = uniforms(size_t{1} << 20, {.seed = 4});
  const auto [smallest, largest] = std::minmax_element(values.begin(), values.end());
  EXPECT_GE(*smallest, 0.0F);
  EXPECT_LT(*largest, 1.0F);
  EXPECT_NEAR(moment(values, 1), 0.5, 5 * std::sqrt(1.0 / 12) / 1024);
  EXPECT_NEAR(moment(values, 2), 1.0 / 3, 5 * std::sqrt(4.0 / 45) / 1024);
}

TEST(PhiloxTest, ShorterFillIsAPrefix) {
  const RandomKey key = {.seed = 5, .index = 6, .stream = 7};
  const auto whole_normals = normals(11, key);
  const auto whole_uniforms = uniforms(11, key);
  for (size_t count = 0; count <= 11; ++count) {
    const auto end = static_cast<std::ptrdiff_t>(count);
    EXPECT_EQ(normals(count, key), std::vector(whole_normals.begin(), whole_normals.begin() + end));
    EXPECT_EQ(uniforms(count, key),
              std::vector(whole_uniforms.begin(), whole_uniforms.begin() + end));
  }
}

TEST(PhiloxTest, StreamsDoNotDependOnTheOrderTheyAreDrawnIn) {
  std::vector<std::vector<float>> forward;
  for (uint64_t index = 0; index < 8; ++index) forward.push_back(normals(5, {.index = index}));
  for (uint64_t index = 8; index-- > 0;) {
    EXPECT_EQ(normals(5, {.index = index}), forward[index]);
  }
}

TEST(PhiloxTest, EveryPartOfTheKeyCounts) {
  std::set<std::array<uint32_t, 4>> blocks;
  for (const RandomKey& key : {RandomKey{},
                               RandomKey{.seed = 1},
                               RandomKey{.seed = uint64_t{1} << 32},
                               RandomKey{.index = 1},
                               RandomKey{.index = uint64_t{1} << 32},
                               RandomKey{.stream = 1}}) {
    blocks.insert(philox_block(key, 0));
    blocks.insert(philox_block(key, 1));
  }
  EXPECT_EQ(blocks.size(), 12U);
}

TEST(PhiloxTest, RandomBelowIsEvenlySpread) {
  constexpr uint64_t kBound = 7;
  constexpr uint64_t kDraws = 70'000;
  std::array<int, kBound> counts = {};
  for (uint64_t index = 0; index < kDraws; ++index) {
    const uint64_t drawn = random_below(kBound, {.seed = 3, .index = index});
    ASSERT_LT(drawn, kBound);
    ++counts[drawn];
  }
  // Five standard deviations of a binomial count with mean 10,000.
  for (const int count : counts) EXPECT_NEAR(count, 10'000, 463);
}

TEST(PhiloxTest, RandomBelowOneIsZero) { EXPECT_EQ(random_below(1, {.seed = 8}), 0U); }

}  // namespace
}  // namespace ditmoe::base
