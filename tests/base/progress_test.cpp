#include "ditmoe/base/progress.h"

#include <gtest/gtest.h>

namespace ditmoe::base {
namespace {

TEST(ProgressTest, DurationsReadNaturally) {
  EXPECT_EQ(format_duration(0.4), "0 s");
  EXPECT_EQ(format_duration(59.4), "59 s");
  EXPECT_EQ(format_duration(59.6), "1 min 00 s");
  EXPECT_EQ(format_duration(3599), "59 min 59 s");
  EXPECT_EQ(format_duration(2 * 3600 + 7 * 60 + 59), "2 h 07 min");
  EXPECT_EQ(format_duration(-1), "0 s");
}

TEST(ProgressTest, LineTellsRateAndTimeLeft) {
  const ProgressLine line{"train", 1200, 6000, "images", 40, "loss 0.031"};
  EXPECT_EQ(format_progress(line, 0),
            "train  1200/6000 images  20%  40 images/s  ETA 2 min 00 s  loss 0.031");
  EXPECT_EQ(format_progress(line, 10),
            "train [##........]  1200/6000 images  20%  40 images/s  ETA 2 min 00 s  loss 0.031");
}

TEST(ProgressTest, LineWithoutARateOrAtTheEndPromisesNothing) {
  EXPECT_EQ(format_progress({"train", 0, 10, "steps", 0, ""}, 0), "train  0/10 steps  0%");
  EXPECT_EQ(format_progress({"train", 10, 10, "steps", 5, ""}, 4),
            "train [####]  10/10 steps  100%  5 steps/s");
  EXPECT_EQ(format_progress({"train", 12, 10, "steps", 0, ""}, 4),
            "train [####]  12/10 steps  100%");
}

}  // namespace
}  // namespace ditmoe::base
