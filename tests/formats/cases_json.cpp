#include <fmt/format.h>

#include "cases.h"

namespace ditmoe::formats::test {
namespace {

std::string many_keys() {
  std::string text = "{";
  for (int i = 0; i < 300'000; ++i) text += fmt::format("\"{}\":0,", i);
  return text;
}

}  // namespace

std::vector<MalformedCase> json_cases() {
  const std::string token = "a string or number of at most";
  return {
      {"Empty", "", "malformed JSON at byte 1"},
      {"Space", " \n", "malformed JSON at byte 3"},
      {"ByteOrderMark", "\xef\xbb", "malformed JSON"},
      {"ObjectCut", R"({"a":1)", "malformed JSON at byte 7"},
      {"StringCut", R"({"a)", "malformed JSON"},
      {"NumberCut", "[1e", "malformed JSON at byte 4"},
      {"WordCut", "[tru", "malformed JSON at byte 5"},
      {"WordInCapitals", "[True]", "malformed JSON at byte 2"},
      {"NotANumber", "[NaN]", "malformed JSON at byte 2"},
      {"Infinity", "[-Infinity]", "malformed JSON at byte 3"},
      {"NumberTooLarge", "[1e999]", "malformed JSON"},
      {"LeadingZero", "[01]", "malformed JSON at byte 3"},
      {"LeadingPlus", "[+1]", "malformed JSON at byte 2"},
      {"Hex", "[0x10]", "malformed JSON at byte 3"},
      {"TrailingComma", "[1,]", "malformed JSON at byte 4"},
      {"TrailingText", "{} {}", "malformed JSON at byte 4"},
      {"TrailingNul", std::string("{}\0", 3), "malformed JSON at byte 3"},
      {"SingleQuotes", "{'a':1}", "malformed JSON at byte 2"},
      {"Comment", "/* a */ {}", "malformed JSON at byte 1"},
      {"LineBreakInString", "[\"\n\"]", "malformed JSON at byte 3"},
      {"UnknownEscape", R"(["\x41"])", "malformed JSON"},
      {"LoneSurrogate", R"(["\udc00"])", "malformed JSON"},
      {"OverlongUtf8", "[\"\xc0\xaf\"]", "malformed JSON"},
      {"Utf16", std::string("[\0]\0", 4), "malformed JSON at byte 2"},
      {"KeyTwice", R"({"a":1,"b":2,"a":3})", "\"a\" twice"},
      {"KeyTwiceInside", R"({"o":[{"a":1,"a":2}]})", "\"a\" twice"},
      {"KeyTwiceEscaped", R"({"a":1,"\u0061":3})", "\"a\" twice"},
      {"DeepArrays", repeated("[", 100'000), "nested at most 32 deep"},
      {"DeepObjects", repeated("{\"a\":", 100'000), "nested at most 32 deep"},
      {"ManyNumbers", [] { return "[" + repeated("1,", 2'000'000); }, "of memory, found more"},
      {"ManyArrays", [] { return "[" + repeated("[],", 2'000'000); }, "of memory, found more"},
      {"ManyStrings", [] { return "[" + repeated("\"\",", 2'000'000); }, "of memory, found more"},
      {"ManyKeys", many_keys, "of memory, found more"},
      {"LongString", [] { return "[\"" + std::string(6'000'000, 's') + "\"]"; }, token},
      {"LongNumber", [] { return "[" + std::string(6'000'000, '1') + "]"; }, token},
      {"LongSpace", [] { return "[" + std::string(6'000'000, ' ') + "]"; }, token},
      {"OverSixteenMegabytes", [] { return std::string(17 << 20, ' '); }, "at most 16777216 bytes"},
  };
}

}  // namespace ditmoe::formats::test
