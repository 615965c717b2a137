#include "ditmoe/base/quoted.h"

#include <gtest/gtest.h>

namespace ditmoe::base {
namespace {

TEST(QuotedTest, KeepsReadableTextAndEscapesTheRest) {
  EXPECT_EQ(base::quoted("blocks.0"), "\"blocks.0\"");
  EXPECT_EQ(base::quoted("größe"), "\"größe\"");
  EXPECT_EQ(base::quoted("a\nb\t\"c\"\\"), "\"a\\nb\\t\\\"c\\\"\\\\\"");
  EXPECT_EQ(base::quoted(std::string("\0\x1b\x7f", 3)), "\"\\x00\\x1b\\x7f\"");
}

TEST(QuotedTest, BytesThatAreNotUtf8AreEscaped) {
  EXPECT_EQ(base::quoted("\xff"), "\"\\xff\"");
  EXPECT_EQ(base::quoted("a\xc3"), "\"a\\xc3\"");         // cut short
  EXPECT_EQ(base::quoted("\xc0\x80"), "\"\\xc0\\x80\"");  // overlong
  EXPECT_EQ(base::quoted("\xe2\x28\xa1"), "\"\\xe2(\\xa1\"");
}

TEST(QuotedTest, LongTextIsCutAndMeasured) {
  EXPECT_EQ(base::quoted("abcdef", 3), "\"abc\"... (6 bytes)");
  EXPECT_EQ(base::quoted("aé", 2), "\"a\\xc3\"... (3 bytes)");
}

}  // namespace
}  // namespace ditmoe::base
