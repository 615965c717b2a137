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

TEST(QuotedTest, WhatCommandsATerminalIsEscaped) {
  EXPECT_EQ(base::quoted("\u009b2J"), "\"\\xc2\\x9b2J\"");                  // a C1 control
  EXPECT_EQ(base::quoted("a\u202eb"), "\"a\\xe2\\x80\\xaeb\"");             // right to left
  EXPECT_EQ(base::quoted("\u2028"), "\"\\xe2\\x80\\xa8\"");                 // line separator
  EXPECT_EQ(base::quoted("\xed\xa0\x80"), "\"\\xed\\xa0\\x80\"");           // a surrogate
  EXPECT_EQ(base::quoted("\xe0\x80\xaf"), "\"\\xe0\\x80\\xaf\"");           // overlong
  EXPECT_EQ(base::quoted("\xf4\x90\x80\x80"), "\"\\xf4\\x90\\x80\\x80\"");  // beyond Unicode
  EXPECT_EQ(base::quoted("\U0001F600\u20ac"), "\"\U0001F600\u20ac\"");
}

TEST(EscapedTest, KeepsQuotesAndLength) {
  EXPECT_EQ(base::escaped("T-shirt \"a\\b\""), "T-shirt \"a\\b\"");
  EXPECT_EQ(base::escaped("a\n\x1b[2J"), "a\\n\\x1b[2J");
  EXPECT_EQ(base::escaped(std::string(200, 'x')), std::string(200, 'x'));
}

TEST(QuotedTest, LongTextIsCutAndMeasured) {
  EXPECT_EQ(base::quoted("abcdef", 3), "\"abc\"... (6 bytes)");
  EXPECT_EQ(base::quoted("aé", 2), "\"a\\xc3\"... (3 bytes)");
}

}  // namespace
}  // namespace ditmoe::base
