#include "ditmoe/pipeline/labels.h"

#include <gmock/gmock.h>

#include <gtest/gtest.h>

#include "ditmoe/base/error.h"

namespace ditmoe::pipeline {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

const std::vector<std::string> kNames = {"T-shirt/top", "Trouser", "tench, Tinca tinca", "Bag"};

std::string message_of(const std::string& text, const std::vector<std::string>& names = kNames) {
  try {
    parse_labels(text, 4, names);
  } catch (const base::Error& error) {
    EXPECT_EQ(error.kind(), base::ErrorKind::kBadInput);
    return error.what();
  }
  return "accepted";
}

TEST(LabelsTest, NumbersRangesAndWordsInTheOrderGiven) {
  EXPECT_THAT(parse_labels("2,0-1,2", 4, {}), ElementsAre(2, 0, 1, 2));
  EXPECT_THAT(parse_labels("all", 4, {}), ElementsAre(0, 1, 2, 3));
  EXPECT_THAT(parse_labels("none, 3", 4, {}), ElementsAre(4, 3));
}

TEST(LabelsTest, NamesInEitherCaseAndByTheirFirstPart) {
  EXPECT_THAT(parse_labels("bag,t-SHIRT/top", 4, kNames), ElementsAre(3, 0));
  EXPECT_THAT(parse_labels("Tench", 4, kNames), ElementsAre(2));
}

TEST(LabelsTest, RefusalsTellWhatIsAllowed) {
  EXPECT_THAT(message_of("4"), HasSubstr("from 0 to 3"));
  EXPECT_THAT(message_of("99999999999999999999"), HasSubstr("from 0 to 3"));
  EXPECT_THAT(message_of("2-1"), HasSubstr("smaller number first"));
  EXPECT_THAT(message_of("1,,2"), HasSubstr("between commas"));
  EXPECT_THAT(message_of(""), HasSubstr("between commas"));
  EXPECT_THAT(message_of("-1"), HasSubstr("no such class"));
  EXPECT_THAT(message_of("trousers"), HasSubstr("did you mean 'Trouser'?"));
  EXPECT_THAT(message_of("bag", {}), HasSubstr("has no class names"));
}

TEST(LabelsTest, NamesOfLabels) {
  EXPECT_EQ(label_name(1, 4, kNames), "Trouser");
  EXPECT_EQ(label_name(4, 4, kNames), "none");
  EXPECT_EQ(label_name(1, 4, {}), "class 1");
}

TEST(LabelsTest, CyclesThroughLabels) {
  EXPECT_THAT(cycle_labels({5, 6}, 5), ElementsAre(5, 6, 5, 6, 5));
  EXPECT_THAT(cycle_labels({5, 6}, 1), ElementsAre(5));
}

}  // namespace
}  // namespace ditmoe::pipeline
