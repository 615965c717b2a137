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

std::string repeated(const std::string& text, int count) {
  std::string out;
  for (int i = 0; i < count; ++i) out += text;
  return out;
}

TEST(ParseJsonTest, MemoryIsLimited) {
  expect_bad("[" + repeated("0,", 1'000'000) + "0]", "at most 24 MiB of memory");
  expect_bad("[" + repeated("[],", 1'000'000) + "0]", "at most 24 MiB of memory");
  EXPECT_EQ(parse_json("[" + repeated("0,", 100'000) + "0]", "x").size(), 100'001U);
}

TEST(ParseJsonTest, TokensAreLimited) {
  const std::string most((size_t{4} << 20) - 2, 'x');
  EXPECT_EQ(parse_json("[\"" + most + "\"]", "x")[0].get<std::string>(), most);
  expect_bad("[\"" + most + "xx\"]", "byte 1: expected a string or number of at most 4194304");
  expect_bad("{\"a\":[1," + std::string(5'000'000, '1'), "byte 8: expected a string or number");
  expect_bad("[" + std::string(5'000'000, ' ') + "1]", "byte 1: expected a string or number");
  expect_bad("[" + repeated("\\\"", 1'000'000) + "1]", "malformed JSON at byte 2");
}

TEST(ParseJsonTest, KeysAreLimited) {
  std::string text = "{";
  for (int i = 0; i < 50; ++i) text += fmt::format("\"{}{}\":0,", std::string(100'000, 'k'), i);
  expect_bad(text + "\"last\":1}", "at most 4194304 bytes of keys");
}

TEST(ParseJsonTest, ManyKeysTakeLinearTime) {
  std::string text = "{";
  constexpr int kKeys = 60'000;  // each looked up among those before it: a minute
  for (int i = 0; i < kKeys; ++i) text += fmt::format("\"{}\":0,", i);
  EXPECT_EQ(parse_json(text + "\"last\":1}", "x").size(), size_t{kKeys} + 1);
}

std::string visited(const std::string& text) {
  std::string out;
  parse_json_members(text, "file: header", [&](const std::string& key, const Json& value) {
    out += fmt::format("{}={};", key, value.dump());
  });
  return out;
}

TEST(ParseJsonMembersTest, VisitsMembersInOrder) {
  EXPECT_EQ(visited("{}"), "");
  EXPECT_EQ(visited(R"({"b":1,"a":{"b":[{}],"c":{"d":2}},"b":[[],"s"]})"),
            R"(b=1;a={"b":[{}],"c":{"d":2}};b=[[],"s"];)");
}

TEST(ParseJsonMembersTest, LimitsAreThoseOfOneMember) {
  std::string text = "{";
  for (int i = 0; i < 40; ++i) {
    text += fmt::format("\"{}{}\":[{}0],", std::string(200'000, 'k'), i, repeated("0,", 100'000));
  }
  int members = 0;
  parse_json_members(
      text + "\"last\":1}", "x", [&](const std::string&, const Json&) { ++members; });
  EXPECT_EQ(members, 41);
}

TEST(ParseJsonMembersTest, RefusesWhatIsNoObject) {
  const auto expect_refused = [](const std::string& text, const std::string& fragment) {
    try {
      visited(text);
      ADD_FAILURE() << "accepted: " << text;
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find("file: header: " + fragment), std::string::npos)
          << error.what();
    }
  };
  expect_refused("[1]", "expected a JSON object, found array");
  expect_refused("1", "expected a JSON object, found number");
  expect_refused("", "malformed JSON at byte 1");
  expect_refused("{\"a\":1", "malformed JSON at byte 7");
  expect_refused(R"({"x":{"a":1,"a":2}})", "expected distinct keys");
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
