#include "ditmoe/data/mixture_schedule.h"

#include <algorithm>
#include <cmath>
#include <gmock/gmock.h>
#include <limits>
#include <numeric>
#include <vector>

#include <gtest/gtest.h>

#include "ditmoe/base/philox.h"

#include "tests/formats/temp_dir.h"

namespace ditmoe::data {
namespace {

using base::ErrorKind;
using ::testing::ElementsAre;

std::vector<int64_t> parts_of(const MixtureSchedule& schedule, int64_t num_positions) {
  std::vector<int64_t> parts;
  for (int64_t p = 0; p < num_positions; ++p) parts.push_back(schedule.at(p).part);
  return parts;
}

// Every count is within 1 of its share, and places within parts count up from 0 without a gap.
// shares: the weights as whole numbers.
void expect_exact(const std::vector<double>& weights,
                  const std::vector<int64_t>& shares,
                  int64_t num_positions) {
  const MixtureSchedule schedule(weights);
  const int64_t sum = std::accumulate(shares.begin(), shares.end(), int64_t{0});
  EXPECT_EQ(schedule.period(), sum);
  std::vector<int64_t> picks(weights.size(), 0);
  for (int64_t p = 0; p < num_positions; ++p) {
    for (size_t i = 0; i < shares.size(); ++i) {
      ASSERT_LT(std::abs(picks[i] * sum - p * shares[i]), sum) << "part " << i << " position " << p;
      ASSERT_EQ(schedule.picks(static_cast<int64_t>(i), p), picks[i]);
    }
    const MixtureSchedule::Place place = schedule.at(p);
    ASSERT_EQ(place.position, picks.at(static_cast<size_t>(place.part))++);
  }
}

TEST(MixtureScheduleTest, CountsAreWithinOneOfTheirShare) {
  expect_exact({1}, {1}, 100);
  expect_exact({17.5}, {1}, 100);
  expect_exact({1, 5}, {1, 5}, 100);
  expect_exact({5, 1}, {5, 1}, 100);
  expect_exact({0.1, 0.2, 0.7}, {1, 2, 7}, 100);
  expect_exact({0.7, 0.1, 0.2}, {7, 1, 2}, 100);
  expect_exact({1, 1, 1, 1, 1, 1, 1}, {1, 1, 1, 1, 1, 1, 1}, 100);
  expect_exact({2.5, 1e-3}, {2500, 1}, 10'000);
  expect_exact({0.333, 0.333, 0.334}, {333, 333, 334}, 5000);
}

TEST(MixtureScheduleTest, CountsAreWithinOneForManyPartsOfAnyWeights) {
  for (uint64_t seed = 0; seed < 40; ++seed) {
    const auto num_parts = 2 + base::random_below(12, {seed, 0, 0});
    std::vector<int64_t> shares = {1};  // a 1 leaves nothing to divide by
    std::vector<double> weights = {0.25};
    for (uint64_t i = 1; i < num_parts; ++i) {
      shares.push_back(1 + static_cast<int64_t>(base::random_below(300, {seed, i, 1})));
      weights.push_back(0.25 * static_cast<double>(shares.back()));
    }
    expect_exact(weights, shares, 2500);
  }
}

TEST(MixtureScheduleTest, PartsAreSpreadEvenly) {
  EXPECT_THAT(parts_of(MixtureSchedule(std::vector<double>{1, 2}), 6),
              ElementsAre(1, 0, 1, 1, 0, 1));
  EXPECT_THAT(parts_of(MixtureSchedule(std::vector<double>{3}), 3), ElementsAre(0, 0, 0));
}

TEST(MixtureScheduleTest, PositionsFarAwayAreAsExact) {
  const MixtureSchedule schedule(std::vector<double>{1, 5});
  constexpr int64_t kFar = int64_t{6} << 55;
  EXPECT_EQ(schedule.picks(0, kFar), int64_t{1} << 55);
  EXPECT_EQ(schedule.picks(1, kFar), int64_t{5} << 55);
  for (int64_t p = 0; p < 6; ++p) EXPECT_EQ(schedule.at(kFar + p).part, schedule.at(p).part);
}

TEST(MixtureScheduleTest, LongPeriodsHaveTheirCounts) {
  const MixtureSchedule schedule(std::vector<double>{1281167, 50000, 60000});
  ASSERT_EQ(schedule.period(), 1391167);
  std::vector<int64_t> picks(3, 0);
  for (int64_t p = 0; p < schedule.period(); ++p) {
    const MixtureSchedule::Place place = schedule.at(p);
    ASSERT_EQ(place.position, picks[static_cast<size_t>(place.part)]++) << p;
  }
  EXPECT_THAT(picks, ElementsAre(1281167, 50000, 60000));
}

TEST(MixtureScheduleTest, WeightsThatMakeNoMixtureAreRefused) {
  const auto expect_refusal = [](const std::vector<double>& weights, const std::string& message) {
    formats::test::expect_error(
        [&] { MixtureSchedule schedule(weights); }, ErrorKind::kBadInput, message);
  };
  expect_refusal({}, "found 0");
  expect_refusal(std::vector<double>(256, 1.0), "found 256");
  expect_refusal({1, 0}, "found 0");
  expect_refusal({1, -1}, "found -1");
  expect_refusal({1, std::nan("")}, "found nan");
  expect_refusal({1, std::numeric_limits<double>::infinity()}, "found inf");
  expect_refusal({1, 1.0 / 3}, "at most 9 decimals");
  expect_refusal({1, 1e-10}, "at most 9 decimals");
  expect_refusal({1, 1e-9}, "at most 16777216, found 1 : 1e-09");
  expect_refusal({16777216, 1}, "at most 16777216");
  EXPECT_EQ(MixtureSchedule(std::vector<double>{16777215, 1}).period(), 16777216);
}

}  // namespace
}  // namespace ditmoe::data
