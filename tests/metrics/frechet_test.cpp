#include "ditmoe/metrics/frechet.h"

#include <algorithm>
#include <cmath>
#include <gmock/gmock.h>
#include <limits>
#include <numeric>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "ditmoe/base/error.h"
#include "ditmoe/base/philox.h"
#include "ditmoe/formats/npz.h"

namespace ditmoe::metrics {
namespace {

using ::testing::HasSubstr;

FeatureView view_of(const std::vector<float>& values, int64_t size) {
  return {values, static_cast<int64_t>(values.size()) / size, size};
}

FeatureMoments moments_of(const FeatureView& set) {
  FeatureStatistics statistics(set.size);
  statistics.add(set);
  return statistics.finish();
}

FeatureMoments moments_of(const std::vector<float>& values, int64_t size) {
  return moments_of(view_of(values, size));
}

std::vector<float> normal_features(int64_t count, int64_t size, uint64_t seed) {
  std::vector<float> values(static_cast<size_t>(count * size));
  base::fill_normal(values, {.seed = seed});
  return values;
}

FeatureMoments diagonal(const std::vector<double>& mean, const std::vector<double>& variances) {
  FeatureMoments moments{mean, std::vector<double>(mean.size() * mean.size())};
  for (size_t i = 0; i < mean.size(); ++i) moments.covariance[i * (mean.size() + 1)] = variances[i];
  return moments;
}

// What reflection in the plane across (1, 2, 3, ...) makes of the Gaussian.
FeatureMoments reflected(const FeatureMoments& moments) {
  const size_t size = moments.mean.size();
  double square = 0;
  for (size_t i = 0; i < size; ++i) square += static_cast<double>((i + 1) * (i + 1));
  const auto element = [&](size_t i, size_t j) {
    return (i == j ? 1.0 : 0.0) - 2.0 * static_cast<double>((i + 1) * (j + 1)) / square;
  };
  FeatureMoments result{std::vector<double>(size), std::vector<double>(size * size)};
  std::vector<double> half(size * size);
  for (size_t i = 0; i < size; ++i) {
    for (size_t k = 0; k < size; ++k) {
      result.mean[i] += element(i, k) * moments.mean[k];
      for (size_t j = 0; j < size; ++j) {
        half[i * size + j] += element(i, k) * moments.covariance[k * size + j];
      }
    }
  }
  for (size_t i = 0; i < size; ++i) {
    for (size_t k = 0; k < size; ++k) {
      for (size_t j = 0; j < size; ++j) {
        result.covariance[i * size + j] += half[i * size + k] * element(k, j);
      }
    }
  }
  return result;
}

double largest_difference(const std::vector<double>& a, const std::vector<double>& b) {
  EXPECT_EQ(a.size(), b.size());
  double largest = 0;
  for (size_t i = 0; i < a.size(); ++i) largest = std::max(largest, std::abs(a[i] - b[i]));
  return largest;
}

// Moments that differ by rounding alone.
void expect_same(const FeatureMoments& a, const FeatureMoments& b) {
  const double variance = *std::max_element(a.covariance.begin(), a.covariance.end());
  EXPECT_LE(largest_difference(a.covariance, b.covariance), 1e-12 * variance);
  EXPECT_LE(largest_difference(a.mean, b.mean), 1e-12 * std::sqrt(variance));
}

template <typename Call>
std::string error_of(const Call& call) {
  try {
    call();
  } catch (const base::Error& error) {
    EXPECT_EQ(error.kind(), base::ErrorKind::kBadInput);
    return error.what();
  }
  return "accepted";
}

TEST(FrechetTest, AgreesWithTheReference) {
  const std::string path = std::string(DITMOE_TEST_DATA) + "/metrics/io.npz";
  const auto io = formats::read_npz(path);
  const base::Tensor& real = formats::array(io, "real", path);
  const base::Tensor& generated = formats::array(io, "generated", path);
  const double expected = formats::array(io, "fid", path).as<double>()[0];
  const double found =
      frechet_distance(moments_of({real.as<float>(), real.dim(0), real.dim(1)}),
                       moments_of({generated.as<float>(), generated.dim(0), generated.dim(1)}));
  EXPECT_NEAR(found, expected, 1e-9 * expected);
}

TEST(FrechetTest, GaussiansWithCommonAxes) {
  // (0.5 - 2)² + 3² + 1² + (√4 - √9)² + (√2 - √2)² + (√0 - √1)²
  const FeatureMoments first = diagonal({0.5, 3, -1}, {4, 2, 0});
  const FeatureMoments second = diagonal({2, 0, 0}, {9, 2, 1});
  const double expected = 2.25 + 9 + 1 + 1 + 0 + 1;
  EXPECT_NEAR(frechet_distance(first, second), expected, 1e-12 * expected);
  EXPECT_NEAR(frechet_distance(reflected(first), reflected(second)), expected, 1e-12 * expected);
}

TEST(FrechetTest, GaussiansOfTwoDimensions) {
  // Of a 2x2 matrix M with eigenvalues above 0: tr(M^½)² = tr(M) + 2·√det(M).
  const FeatureMoments first{{0, 0}, {2, 0.6, 0.6, 1}};
  const FeatureMoments second{{1, 1}, {3, -1, -1, 0.7}};
  const double determinants = (2 * 1 - 0.36) * (3 * 0.7 - 1);
  const double trace = 2 * 3 - 0.6 - 0.6 + 1 * 0.7;
  const double expected = 2 + 3 + 3.7 - 2 * std::sqrt(trace + 2 * std::sqrt(determinants));
  EXPECT_NEAR(frechet_distance(first, second), expected, 1e-12);
}

TEST(FrechetTest, OfASetAndItselfIsZero) {
  for (const int64_t count : {5, 40, 2000}) {  // of 64 dimensions: singular, singular, full
    const FeatureMoments moments = moments_of(normal_features(count, 64, 1), 64);
    EXPECT_LE(frechet_distance(moments, moments), 1e-11 * 64) << count;
  }
}

TEST(FrechetTest, IsSymmetric) {
  for (const int64_t count : {5, 40, 2000}) {
    const FeatureMoments first = moments_of(normal_features(count, 64, 1), 64);
    const FeatureMoments second = moments_of(normal_features(300, 64, 2), 64);
    const double distance = frechet_distance(first, second);
    EXPECT_GT(distance, 0.0);
    EXPECT_NEAR(frechet_distance(second, first), distance, 1e-11 * distance);
  }
}

TEST(FrechetTest, FewerVectorsThanDimensions) {
  // Two sets in three of 64 dimensions, seen in other coordinates: null directions add nothing.
  FeatureMoments wide[2];
  FeatureMoments narrow[2];
  for (uint64_t set = 0; set < 2; ++set) {
    narrow[set] = moments_of(normal_features(10, 3, set), 3);
    FeatureMoments padded = diagonal(std::vector<double>(64), std::vector<double>(64));
    for (size_t i = 0; i < 3; ++i) {
      padded.mean[i] = narrow[set].mean[i];
      for (size_t j = 0; j < 3; ++j) {
        padded.covariance[i * 64 + j] = narrow[set].covariance[i * 3 + j];
      }
    }
    wide[set] = reflected(padded);
  }
  const double expected = frechet_distance(narrow[0], narrow[1]);
  EXPECT_NEAR(frechet_distance(wide[0], wide[1]), expected, 1e-9 * expected);
}

TEST(FrechetTest, SetsWithoutACommonDirection) {
  FeatureMoments first = diagonal(std::vector<double>(40), std::vector<double>(40));
  FeatureMoments second = first;
  for (size_t i = 0; i < 40; ++i) (i < 7 ? first : second).covariance[i * 41] = 1.0;
  EXPECT_NEAR(frechet_distance(reflected(first), reflected(second)), 40.0, 1e-9);
  const FeatureMoments nothing = diagonal(std::vector<double>(40), std::vector<double>(40));
  EXPECT_DOUBLE_EQ(frechet_distance(first, nothing), 7.0);
  EXPECT_EQ(frechet_distance(nothing, nothing), 0.0);
}

TEST(FeatureStatisticsTest, MomentsOfAFewVectors) {
  const FeatureMoments moments = moments_of({1, 10, 2, 30, 6, 20}, 2);
  EXPECT_THAT(moments.mean, testing::ElementsAre(testing::DoubleEq(3), testing::DoubleEq(20)));
  // Deviations: (-2, -10), (-1, 10), (3, 0).
  EXPECT_THAT(moments.covariance,
              testing::Pointwise(testing::DoubleEq(), std::vector<double>{7, 5, 5, 100}));
}

TEST(FeatureStatisticsTest, BatchesAndShardsDoNotMatter) {
  constexpr int64_t kSize = 33;
  const std::vector<float> values = normal_features(1000, kSize, 3);
  const FeatureMoments whole = moments_of(values, kSize);
  FeatureStatistics batches(kSize);
  FeatureStatistics shards[3] = {
      FeatureStatistics(kSize), FeatureStatistics(kSize), FeatureStatistics(kSize)};
  int64_t first = 0;
  for (int64_t rows = 0; first < 1000; ++rows) {  // 0, 1, 2, ... vectors at a time
    const int64_t count = std::min<int64_t>(rows, 1000 - first);
    const FeatureView batch = {
        std::span(values).subspan(first * kSize, count * kSize), count, kSize};
    batches.add(batch);
    shards[rows % 3].add(batch);
    first += count;
  }
  EXPECT_EQ(batches.count(), 1000);
  expect_same(batches.finish(), whole);
  FeatureStatistics merged(kSize);
  for (const int shard : {2, 0, 1}) merged.merge(shards[shard]);
  merged.merge(FeatureStatistics(kSize));
  EXPECT_EQ(merged.count(), 1000);
  expect_same(merged.finish(), whole);
  const FeatureMoments other = moments_of(normal_features(200, kSize, 4), kSize);
  const double distance = frechet_distance(whole, other);
  EXPECT_NEAR(frechet_distance(merged.finish(), other), distance, 1e-12 * distance);
}

TEST(FeatureStatisticsTest, OrderDoesNotMatter) {
  constexpr int64_t kSize = 17;
  const std::vector<float> values = normal_features(700, kSize, 5);
  std::vector<float> backwards;
  for (int64_t row = 699; row >= 0; --row) {
    backwards.insert(
        backwards.end(), values.begin() + row * kSize, values.begin() + (row + 1) * kSize);
  }
  expect_same(moments_of(backwards, kSize), moments_of(values, kSize));
}

TEST(FeatureStatisticsTest, ASetMergedWithItself) {
  const std::vector<float> values = normal_features(50, 6, 6);
  FeatureStatistics once(6);
  once.add(view_of(values, 6));
  FeatureStatistics twice = once;
  twice.add(view_of(values, 6));
  once.merge(once);
  EXPECT_EQ(once.count(), 100);
  expect_same(once.finish(), twice.finish());
}

TEST(FeatureStatisticsTest, FarFromZeroNothingIsLost) {
  // Values that f32 holds exactly with and without the offset, whose squares f64 would round.
  std::vector<float> values;
  std::vector<float> far;
  for (int i = 0; i < 600; ++i) {
    values.push_back(static_cast<float>(i * i % 97) / 16.0F);
    far.push_back(values.back() + 500'000.0F);
  }
  const FeatureMoments near_zero = moments_of(values, 3);
  expect_same({near_zero.mean, moments_of(far, 3).covariance}, near_zero);
}

TEST(FeatureStatisticsTest, RefusesWhatDoesNotFit) {
  const std::vector<float> values = {0, 1, 2, 3, 4, 5};
  FeatureStatistics statistics(2);
  EXPECT_THAT(error_of([&] { statistics.add(view_of(values, 3)); }),
              HasSubstr("expected 2 features, found 3"));
  EXPECT_THAT(error_of([&] {
                statistics.add({values, 4, 2});
              }),
              HasSubstr("expected 4 x 2, found 6 values"));
  EXPECT_THAT(error_of([&] { statistics.merge(FeatureStatistics(3)); }),
              HasSubstr("expected 2 features, found 3"));
  EXPECT_THAT(error_of([] { FeatureStatistics(0); }), HasSubstr("1 to 16384 features, found 0"));
  EXPECT_THAT(error_of([] { FeatureStatistics(1 << 20); }), HasSubstr("found 1048576"));
  statistics.add({std::span(values).first(2), 1, 2});
  EXPECT_THAT(error_of([&] { statistics.finish(); }), HasSubstr("takes two vectors, found 1"));
}

TEST(FeatureStatisticsTest, WhatIsNotFiniteAddsNothing) {
  std::vector<float> values = normal_features(600, 2, 7);
  FeatureStatistics statistics(2);
  statistics.add(view_of(values, 2));
  const FeatureMoments before = statistics.finish();
  for (const float bad : {std::nanf(""), std::numeric_limits<float>::infinity()}) {
    values[2 * 571 + 1] = bad;
    EXPECT_THAT(error_of([&] { statistics.add(view_of(values, 2)); }), HasSubstr("row 571"));
  }
  EXPECT_EQ(statistics.count(), 600);
  EXPECT_EQ(statistics.finish().covariance, before.covariance);
}

TEST(FrechetTest, RefusesWhatDoesNotFit) {
  const FeatureMoments good = diagonal({0, 0}, {1, 1});
  const auto message = [&](const FeatureMoments& bad) {
    return error_of([&] { frechet_distance(good, bad); });
  };
  EXPECT_THAT(message(diagonal({0, 0, 0}, {1, 1, 1})), HasSubstr("of one size, found 2 and 3"));
  EXPECT_THAT(message({{0, 0}, {1, 0, 1}}), HasSubstr("second set: expected a covariance"));
  EXPECT_THAT(message({}), HasSubstr("for a mean of 0"));
  EXPECT_THAT(message({{0, std::nan("")}, {1, 0, 0, 1}}), HasSubstr("finite means"));
  EXPECT_THAT(message({{0, 0}, {1, 0, 0, HUGE_VAL}}), HasSubstr("finite covariances"));
  EXPECT_THAT(message({{0, 0}, {1, 0, 0, 1e200}}), HasSubstr("up to 1e+150, found 1e+200"));
}

}  // namespace
}  // namespace ditmoe::metrics
