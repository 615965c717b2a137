#include "ditmoe/metrics/precision_recall.h"

#include <cmath>
#include <gmock/gmock.h>
#include <limits>
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

FeatureView view_of(const base::Tensor& tensor) {
  return {tensor.as<float>(), tensor.dim(0), tensor.dim(1)};
}

std::string error_of(const FeatureView& real, const FeatureView& generated, int64_t k) {
  base::ThreadPool pool(1);
  try {
    precision_recall(real, generated, k, pool);
  } catch (const base::Error& error) {
    EXPECT_EQ(error.kind(), base::ErrorKind::kBadInput);
    return error.what();
  }
  return "";
}

TEST(PrecisionRecallTest, AgreesWithTheReference) {
  const std::string path = std::string(DITMOE_TEST_DATA) + "/metrics/io.npz";
  const auto io = formats::read_npz(path);
  base::ThreadPool pool(2);
  const PrecisionRecall result = precision_recall(view_of(formats::array(io, "real", path)),
                                                  view_of(formats::array(io, "generated", path)),
                                                  3,
                                                  pool);
  EXPECT_DOUBLE_EQ(result.precision, formats::array(io, "precision", path).as<double>()[0]);
  EXPECT_DOUBLE_EQ(result.recall, formats::array(io, "recall", path).as<double>()[0]);
}

TEST(PrecisionRecallTest, OnALine) {
  // k = 1. Radii of 0, 1 and 10: 1, 1 and 9; the balls are [-1, 1], [0, 2] and [1, 19].
  const std::vector<float> real = {0, 1, 10};
  // Radii of 2, 1.5 and 20: 0.5, 0.5 and 18; the balls are [1.5, 2.5], [1, 2] and [2, 38].
  const std::vector<float> generated = {2, 1.5, 20};
  base::ThreadPool pool(1);
  const PrecisionRecall result = precision_recall(view_of(real, 1), view_of(generated, 1), 1, pool);
  EXPECT_DOUBLE_EQ(result.precision, 2.0 / 3.0);  // 2 lies on a border, 20 outside
  EXPECT_DOUBLE_EQ(result.recall, 2.0 / 3.0);     // 1 lies on a border, 0 outside
}

TEST(PrecisionRecallTest, ASetIsWithinItself) {
  std::vector<float> values(50 * 7);
  base::fill_normal(values, {.seed = 1});
  base::ThreadPool pool(2);
  const PrecisionRecall result = precision_recall(view_of(values, 7), view_of(values, 7), 3, pool);
  EXPECT_EQ(result.precision, 1.0);
  EXPECT_EQ(result.recall, 1.0);
}

TEST(PrecisionRecallTest, FarSetsShareNothing) {
  std::vector<float> real(40 * 5);
  base::fill_normal(real, {.seed = 1});
  std::vector<float> generated = real;
  for (float& value : generated) value += 100.0F;
  base::ThreadPool pool(2);
  const PrecisionRecall result = precision_recall(view_of(real, 5), view_of(generated, 5), 3, pool);
  EXPECT_EQ(result.precision, 0.0);
  EXPECT_EQ(result.recall, 0.0);
}

TEST(PrecisionRecallTest, CollapseCostsRecallAlone) {
  std::vector<float> real(40 * 2);
  base::fill_normal(real, {.seed = 2});
  std::vector<float> generated;
  for (int copy = 0; copy < 10; ++copy) generated.insert(generated.end(), {real[0], real[1]});
  base::ThreadPool pool(1);
  const PrecisionRecall result = precision_recall(view_of(real, 2), view_of(generated, 2), 3, pool);
  EXPECT_EQ(result.precision, 1.0);
  EXPECT_DOUBLE_EQ(result.recall, 1.0 / 40.0);
}

TEST(PrecisionRecallTest, RefusesWhatIsNotFinite) {
  const std::vector<float> good = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9};
  std::vector<float> bad = good;
  bad[7] = std::nanf("");
  EXPECT_THAT(error_of(view_of(good, 2), view_of(bad, 2), 3),
              HasSubstr("generated features, row 3"));
  bad[7] = std::numeric_limits<float>::infinity();
  EXPECT_THAT(error_of(view_of(bad, 2), view_of(good, 2), 3), HasSubstr("real features, row 3"));
}

TEST(PrecisionRecallTest, RefusesSetsThatDoNotFit) {
  const std::vector<float> values = {0, 1, 2, 3, 4, 5, 6, 7};
  EXPECT_THAT(error_of(view_of(values, 2), view_of(values, 1), 3), HasSubstr("of one size"));
  EXPECT_THAT(error_of(view_of(values, 2), view_of(values, 2), 4), HasSubstr("more than k = 4"));
  EXPECT_THAT(error_of(view_of(values, 2), view_of(values, 2), 0), HasSubstr("at least 1"));
  EXPECT_THAT(error_of({values, 4, 3}, view_of(values, 2), 3), HasSubstr("found 8 values"));
}

}  // namespace
}  // namespace ditmoe::metrics
