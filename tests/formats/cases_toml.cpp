#include <fmt/format.h>

#include "cases.h"

namespace ditmoe::formats::test {
namespace {

std::string many_lines(const char* format, int count) {
  std::string out;
  for (int i = 0; i < count; ++i) out += fmt::format(fmt::runtime(format), i);
  return out;
}

}  // namespace

std::vector<MalformedCase> toml_cases() {
  return {
      {"NoValue", "a =\n", ":1: "},
      {"DuplicateKey", "a = 1\na = 2\n", ":2: "},
      {"DuplicateTable", "[a]\n[a]\n", ":2: "},
      {"UnendedString", "a = \"x\n", ":1: "},
      {"UnendedArray", "a = [1,\n", ":"},
      {"UnendedTable", "a = {b = 1\n", ":1: "},
      {"UnendedHeader", "[a\n", ":1: "},
      {"UnendedText", "a = \"\"\"x\n", ":"},
      {"TwoValues", "a = 1 2\n", ":1: "},
      {"NoKey", "= 1\n", ":1: "},
      {"KeyAlone", "a\n", ":1: "},
      {"ValueThenTable", "a = 1\n[a.b]\n", ":2: "},
      {"ValueThenDottedKey", "a = 1\na.b = 2\n", ":2: "},
      {"InlineTableExtended", "a = {}\n[a.b]\n", ":2: "},
      {"TableThenArrayOfTables", "[a]\n[[a]]\n", ":2: "},
      {"DuplicateInInlineTable", "a = {b = 1, b = 2}\n", ":1: "},
      {"DuplicateAfterEscape", "a = 1\n\"\\u0061\" = 2\n", ":2: "},
      {"BadEscape", "a = \"\\q\"\n", ":1: "},
      {"Surrogate", "a = \"\\ud800\"\n", ":1: "},
      {"ControlCharacter", "a = \"\x01\"\n", ":1: "},
      {"LeadingZero", "a = 01\n", ":1: "},
      {"LoneUnderscore", "a = 1__0\n", ":1: "},
      {"HexOverflow", "a = 0xffffffffffffffff\n", ":1: "},
      {"DigitsWithoutEnd", "a = " + std::string(200'000, '1'), ":1: "},
      {"TimeOutOfRange", "a = 25:00:00\n", ":1: "},
      {"DateOutOfRange", "a = 2001-02-30\n", ":1: "},
      {"Json", "{\"a\": 1}", ":1: "},
      {"NotUtf8", "a = \"\xff\"\n", ":"},
      {"NotUtf8InKey", "\xff = 1\n", ":"},
      {"Utf16",
       std::string("\xff\xfe"
                   "a\0=\0"
                   "1\0",
                   8),
       ":"},
      {"ManyKeys", many_lines("k{}=1\n", 25'000) + "=", ":25001: "},
      {"ManyTables", many_lines("[t{}]\n", 25'000) + "=", ":25001: "},
      {"ManyArraysOfTables", repeated("[[a]]\n", 40'000) + "=", ":40001: "},
      {"ManyEmptyArrays", "a = [" + repeated("[],", 80'000), ":1: "},
      {"ManyNestedArraysOfTables", repeated("[[a]]\n[[a.b]]\n", 18'000) + "=", ":36001: "},
      {"ZeroByte", std::string("a = 1\0\n", 7), ":1: "},
      {"IntegerOverflow", "a = 9223372036854775808\n", ":1: "},
      {"DeepArrays", "a = " + repeated("[", 100'000), ":1: "},
      {"DeepTables", "a = " + repeated("{a=", 50'000), ":1: "},
      {"DeepDottedKey", repeated("a.", 100'000) + "a = 1", "at most 32 dots"},
      {"DeepHeader", "[" + repeated("a . ", 60'000) + "a]", "at most 32 dots"},
      {"DeepQuotedKey", repeated("\"a\".", 50'000) + "a = 1", "at most 32 dots"},
      {"DeepQuotedKeyOfSigns", repeated("\"$\".", 60'000) + "a = 1", "at most 32 dots"},
      {"DeepKeyBehindQuotes",
       "a = {b = \"\"\"x\"\"\"\"\", " + repeated("a.", 60'000) + "a = 1}",
       "at most 32 dots"},
      {"DeepKeyBehindEscape",
       "a = {b = \"\\\\\", " + repeated("a.", 60'000) + "a = 1}",
       "at most 32 dots"},
      {"Large", repeated("# comment\n", 30'000), "at most 262144 bytes"},
  };
}

}  // namespace ditmoe::formats::test
