#include "ditmoe/base/json.h"

#include <string>
#include <vector>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "ditmoe/base/error.h"

namespace ditmoe::base {
namespace {

TEST(ParseJsonTest, EveryKindOfValue) {
  const Json json = parse_json(
      R"( {"o":{}, "a":[1,-2,2.5,1e3], "s":"\u00e9\n", "t":true, "f":false, "n":null,
          "big":18446744073709551615} )",
      "x");
  EXPECT_TRUE(json["o"].is_object());
  EXPECT_TRUE(json["a"][0].is_number_unsigned());
  EXPECT_EQ(json["a"][1].get<int>(), -2);
  EXPECT_EQ(json["a"][2].get<double>(), 2.5);
  EXPECT_TRUE(json["a"][3].is_number_float());
  EXPECT_EQ(json["s"].get<std::string>(), "\u00e9\n");
  EXPECT_TRUE(json["t"].get<bool>());
  EXPECT_FALSE(json["f"].get<bool>());
  EXPECT_TRUE(json["n"].is_null());
  EXPECT_EQ(json["big"].get<uint64_t>(), 18446744073709551615U);
}

TEST(ParseJsonTest, AgreesWithTheLibraryOnNestedText) {
  const std::string text = R"({"b":[{"x":[[],{}]},[1,[2,[3]]],{}],"a":{"b":{"c":[]},"d":"e"}})";
  EXPECT_EQ(parse_json(text, "x").dump(), text);
  EXPECT_EQ(parse_json(text, "x"), Json::parse(text));
}

TEST(ParseJsonTest, ScalarDocuments) {
  EXPECT_EQ(parse_json("3", "x").get<int>(), 3);
  EXPECT_EQ(parse_json("\"s\"", "x").get<std::string>(), "s");
}

TEST(ParseJsonTest, SameKeyInDifferentObjectsIsFine) {
  EXPECT_EQ(parse_json(R"([{"a":1},{"a":{"a":2}}])", "x")[1]["a"]["a"].get<int>(), 2);
}

void expect_bad(const std::string& text, const std::string& fragment, int max_depth = 32) {
  try {
    parse_json(text, "file: header", max_depth);
    ADD_FAILURE() << "accepted: " << text.substr(0, 100);
  } catch (const Error& error) {
    const std::string message = error.what();
    EXPECT_EQ(error.kind(), ErrorKind::kBadInput);
    EXPECT_TRUE(message.starts_with("file: header: ")) << message;
    EXPECT_NE(message.find(fragment), std::string::npos) << message << " lacks " << fragment;
    EXPECT_EQ(message.find('\n'), std::string::npos) << message;
  }
}

TEST(ParseJsonTest, DuplicateKeysAreNamed) {
  expect_bad(R"({"a":1,"a":1})", "\"a\" twice");
  expect_bad(R"({"x":{"b":1,"c":{},"b":2}})", "\"b\" twice");
  expect_bad(R"({"a":1,"\u0061":1})", "\"a\" twice");
  expect_bad(R"({"\n":1,"\n":1})", "\"\\n\" twice");
}

TEST(ParseJsonTest, DepthIsLimited) {
  EXPECT_EQ(parse_json("[[[]]]", "x", 3).dump(), "[[[]]]");
  expect_bad("[[[]]]", "at most 2 deep", 2);
  expect_bad(R"({"a":{"a":{}}})", "at most 2 deep", 2);
  expect_bad(std::string(1'000'000, '['), "at most 32 deep");
}

TEST(ParseJsonTest, NumberOfValuesIsLimited) {
  std::string text = "[";
  for (int i = 0; i < (1 << 22); ++i) text += "0,";
  expect_bad(text + "0]", "at most 4194304 JSON values");
}

TEST(ParseJsonTest, ManyKeysTakeLinearTime) {
  std::string text = "{";
  constexpr int kKeys = 300'000;  // hours, were each looked up among those before it
  for (int i = 0; i < kKeys; ++i) text += fmt::format("\"{}\":0,", i);
  EXPECT_EQ(parse_json(text + "\"last\":1}", "x").size(), size_t{kKeys} + 1);
}

TEST(ParseJsonTest, FaultsHaveAByteOffset) {
  expect_bad("", "malformed JSON at byte 1");
  expect_bad("{\"a\":1,}", "at byte 8");
  expect_bad("{\"a\" 1}", "at byte 6");
  expect_bad("[1 2]", "at byte 4");
  expect_bad("{}x", "at byte 3");
  expect_bad(std::string("{}\0", 3), "at byte 3");
  expect_bad("// c\n{}", "at byte 1");
  expect_bad("\"\xff\"", "at byte 2");
  expect_bad("\"\\ud800\"", "malformed JSON");
  expect_bad("\"\n\"", "at byte 2");
  expect_bad("[NaN]", "at byte 2");
  expect_bad("[1e400]", "malformed JSON");
  expect_bad("[01]", "at byte 3");
  expect_bad("{'a':1}", "at byte 2");
}

}  // namespace
}  // namespace ditmoe::base
