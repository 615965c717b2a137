#include "ditmoe/metrics/classification.h"

#include <cmath>
#include <gmock/gmock.h>
#include <vector>

#include <gtest/gtest.h>

#include "ditmoe/base/error.h"

namespace ditmoe::metrics {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

std::string error_of(const std::vector<float>& logits, const std::vector<int32_t>& wanted) {
  try {
    classify(logits, wanted, 3);
  } catch (const base::Error& error) {
    EXPECT_EQ(error.kind(), base::ErrorKind::kBadInput);
    return error.what();
  }
  return "";
}

// Four images wanted as 0, 0, 0 and 2, recognised as 0, 1, 1 and 2.
Classification four_images() {
  const std::vector<float> logits = {5, 1, 2, -3, -1, -2, 0, 9, 1, 0, 1, 2};
  return classify(logits, std::vector<int32_t>{0, 0, 0, 2}, 3);
}

TEST(ClassificationTest, CountsWantedAgainstRecognised) {
  const Classification result = four_images();
  EXPECT_THAT(result.confusion, ElementsAre(1, 2, 0, 0, 0, 0, 0, 0, 1));
  EXPECT_EQ(result.count(0), 3);
  EXPECT_EQ(result.correct(0), 1);
  EXPECT_EQ(result.count(1), 0);
  EXPECT_EQ(result.total(), 4);
  EXPECT_EQ(result.correct(), 2);
  EXPECT_DOUBLE_EQ(result.accuracy(), 0.5);
}

TEST(ClassificationTest, EqualLogitsGoToTheFirst) {
  const Classification result = classify(std::vector<float>{1, 7, 7}, std::vector<int32_t>{1}, 3);
  EXPECT_EQ(result.correct(1), 1);
}

TEST(ClassificationTest, NoImages) { EXPECT_EQ(classify({}, {}, 3).accuracy(), 0.0); }

TEST(ClassificationTest, TableNamesTheWorstMistake) {
  const std::string table = format_table(four_images(), {"Coat", "Bag", "Dress"});
  EXPECT_THAT(table, HasSubstr("Coat         3       33.3%  Bag 66.7%\n"));
  EXPECT_THAT(table, HasSubstr("Dress        1      100.0%  -\n"));
  EXPECT_THAT(table, Not(HasSubstr("\nBag")));
  EXPECT_THAT(table, HasSubstr("all          4       50.0%\n"));
}

TEST(ClassificationTest, ClassesWithoutNamesAreNumbered) {
  EXPECT_THAT(format_table(four_images(), {}), HasSubstr("class 1 66.7%"));
}

TEST(ClassificationTest, RefusesNaN) {
  EXPECT_THAT(error_of({0, 1, 2, 0, std::nanf(""), 1}, {0, 1}), HasSubstr("row 1"));
}

TEST(ClassificationTest, RefusesLabelsOutOfRange) {
  EXPECT_THAT(error_of({0, 1, 2}, {3}), HasSubstr("from 0 to 2, found 3"));
  EXPECT_THAT(error_of({0, 1, 2}, {-1}), HasSubstr("from 0 to 2, found -1"));
}

TEST(ClassificationTest, RefusesSizesThatDoNotFit) {
  EXPECT_THAT(error_of({0, 1, 2, 3}, {0}), HasSubstr("expected 1 x 3 logits, found 4"));
}

}  // namespace
}  // namespace ditmoe::metrics
