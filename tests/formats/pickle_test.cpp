#include "ditmoe/formats/pickle.h"

#include <gtest/gtest.h>

#include "cases.h"
#include "pickle_bytes.h"

namespace ditmoe::formats {
namespace {

using test::bytes_of_text;
using test::pickled_global;
using test::pickled_text;
using test::raw;
using test::repeated;

// A pickle together with its bytes.
class Parsed {
 public:
  explicit Parsed(std::string bytes)
      : bytes_(std::move(bytes)), pickle_(Pickle::parse(bytes_of_text(bytes_), "file")) {}

  PickleValue root() const { return pickle_.root(); }

  uint64_t size() const { return pickle_.size(); }

 private:
  std::string bytes_;
  Pickle pickle_;
};

int64_t integer(const std::string& bytes) { return Parsed(bytes + ".").root().integer(); }

TEST(PickleTest, Numbers) {
  EXPECT_EQ(integer("K\xff"), 255);
  EXPECT_EQ(integer("M\xff\xff"), 65535);
  EXPECT_EQ(integer("J\xff\xff\xff\xff"), -1);
  EXPECT_EQ(integer(raw("J\0\0\0\x80")), -2147483648);
  EXPECT_EQ(integer(raw("\x8a\0")), 0);
  EXPECT_EQ(integer("\x8a\x01\x80"), -128);
  EXPECT_EQ(integer(raw("\x8a\x02\x80\0")), 128);
  EXPECT_EQ(integer("\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f"), INT64_MAX);
  EXPECT_EQ(integer(raw("\x8a\x08\0\0\0\0\0\0\0\x80")), INT64_MIN);
  EXPECT_EQ(integer(raw("\x8b\x02\0\0\0\xfe\xff")), -2);
  EXPECT_EQ(integer("I-17\n"), -17);
  EXPECT_EQ(integer("L9223372036854775807L\n"), INT64_MAX);
  EXPECT_EQ(Parsed(raw("G\x3f\xf8\0\0\0\0\0\0.")).root().floating(), 1.5);
  EXPECT_EQ(Parsed("F-2.5e3\n.").root().floating(), -2500.0);
  EXPECT_TRUE(Parsed("\x88.").root().boolean());
  EXPECT_FALSE(Parsed("\x89.").root().boolean());
  EXPECT_TRUE(Parsed("I01\n.").root().boolean());
  EXPECT_FALSE(Parsed("I00\n.").root().boolean());
  EXPECT_TRUE(Parsed("N.").root().is(PickleKind::kNone));
}

TEST(PickleTest, IntegersOfMoreThan64BitsKeepTheirBytes) {
  const Parsed nine(raw("\x8a\x09\x01\0\0\0\0\0\0\0\x01."));
  EXPECT_TRUE(nine.root().is(PickleKind::kBigInteger));
  EXPECT_EQ(nine.root().text(), raw("\x01\0\0\0\0\0\0\0\x01"));
  const Parsed longest("\x8a\xff" + std::string(255, '\x7f') + ".");
  EXPECT_EQ(longest.root().text().size(), 255U);
  EXPECT_EQ(longest.root().describe(), "an integer of 255 bytes");
  const Parsed digits("L-9223372036854775809L\n.");
  EXPECT_TRUE(digits.root().is(PickleKind::kBigInteger));
  EXPECT_EQ(digits.root().text(), "-9223372036854775809");
  const Parsed four(raw("\x8b\x0a\0\0\0") + std::string(10, '\x01') + ".");
  EXPECT_EQ(four.root().text().size(), 10U);
}

TEST(PickleTest, TextAndBytes) {
  EXPECT_EQ(Parsed(pickled_text("h\u00e9") + ".").root().text(), "h\u00e9");
  EXPECT_EQ(Parsed("\x8c\x02hi.").root().text(), "hi");
  EXPECT_EQ(Parsed(raw("\x8d\x02\0\0\0\0\0\0\0hi.")).root().text(), "hi");
  EXPECT_EQ(Parsed("U\x02hi.").root().text(), "hi");
  EXPECT_EQ(Parsed(raw("T\x02\0\0\0hi.")).root().text(), "hi");
  EXPECT_TRUE(Parsed("C\x02hi.").root().is(PickleKind::kBytes));
  EXPECT_EQ(Parsed(raw("B\x02\0\0\0hi.")).root().text(), "hi");
  EXPECT_EQ(Parsed(raw("\x8e\x02\0\0\0\0\0\0\0hi.")).root().text(), "hi");
  EXPECT_EQ(Parsed(raw("\x96\x02\0\0\0\0\0\0\0hi.")).root().text(), "hi");
}

TEST(PickleTest, Containers) {
  EXPECT_EQ(Parsed(").").root().size(), 0U);
  EXPECT_EQ(Parsed("K\x01\x85.").root().items()[0].integer(), 1);
  const Parsed tuple("K\x01K\x02K\x03\x87.");
  EXPECT_EQ(tuple.root().items()[2].integer(), 3);
  EXPECT_EQ(Parsed("(K\x01K\x02K\x03K\x04t.").root().items()[3].integer(), 4);
  const Parsed list(
      "](K\x01K\x02"
      "eK\x03"
      "a.");
  ASSERT_EQ(list.root().size(), 3U);
  EXPECT_EQ(list.root().items()[0].integer(), 1);
  EXPECT_EQ(list.root().items()[2].integer(), 3);
  EXPECT_EQ(Parsed("(K\x01l.").root().items()[0].integer(), 1);
  EXPECT_EQ(Parsed("\x8f(K\x07\x90.").root().items()[0].integer(), 7);
  EXPECT_EQ(Parsed("(K\x07\x91.").root().items()[0].integer(), 7);
  const Parsed dict("}(K\x01K\x02K\x03K\x04uK\x05K\x06s.");
  ASSERT_EQ(dict.root().size(), 3U);
  EXPECT_EQ(dict.root().pairs()[0].second.integer(), 2);
  EXPECT_EQ(dict.root().pairs()[2].first.integer(), 5);
  EXPECT_EQ(Parsed("(K\x01K\x02"
                   "d.")
                .root()
                .pairs()[0]
                .first.integer(),
            1);
}

TEST(PickleTest, StackAndMemo) {
  EXPECT_EQ(integer("K\x01K\x02"
                    "0"),
            1);
  EXPECT_EQ(integer("K\x01(0"), 1);  // a mark is taken where there is nothing above it
  EXPECT_EQ(integer("K\x01(K\x02K\x03"
                    "1"),
            1);
  EXPECT_EQ(Parsed("K\x01"
                   "2\x86.")
                .root()
                .items()[1]
                .integer(),
            1);
  EXPECT_EQ(Parsed("K\x09q\x05h\x05\x86.").root().items()[1].integer(), 9);
  EXPECT_EQ(Parsed(raw("K\x09r\x05\0\0\0j\x05\0\0\0\x86.")).root().items()[1].integer(), 9);
  EXPECT_EQ(Parsed(raw("K\x08\x94K\x09\x94h\x01\x87.")).root().items()[2].integer(), 9);
}

TEST(PickleTest, ObjectsAreNamesAndArguments) {
  const Parsed object(pickled_global("argparse", "Namespace") + ")\x81}" + pickled_text("lr") +
                      "K\x03sb.");
  EXPECT_EQ(object.root().callee(), "argparse.Namespace");
  EXPECT_EQ(object.root().arguments().size(), 0U);
  ASSERT_TRUE(object.root().has_state());
  EXPECT_EQ(object.root().state().pairs()[0].second.integer(), 3);
  const Parsed hostile(pickled_global("os", "system") + pickled_text("true") + "\x85R.");
  EXPECT_EQ(hostile.root().describe(), "an object made by \"os.system\"");
  const Parsed stacked("\x8c\x02os\x8c\x06system\x93.");
  EXPECT_EQ(stacked.root().global(), "os.system");
  const Parsed keywords(pickled_global("a.b", "C") + "K\x01\x85}\x92.");
  EXPECT_EQ(keywords.root().arguments().items()[0].integer(), 1);
  const Parsed filled(pickled_global("a", "B") +
                      ")\x81(K\x01K\x02u(K\x01"
                      "e.");
  EXPECT_TRUE(filled.root().has_items());
}

TEST(PickleTest, DictionariesOfTheCollectionsModuleAreDicts) {
  const std::string ordered = pickled_global("collections", "OrderedDict") + ")R";
  const Parsed dict(ordered + "K\x01K\x02s}" + pickled_text("_metadata") + ordered + "sb.");
  ASSERT_TRUE(dict.root().is(PickleKind::kDict));
  EXPECT_EQ(dict.root().pairs()[0].second.integer(), 2);
  const Parsed defaults(pickled_global("collections", "defaultdict") +
                        pickled_global("__builtin__", "dict") + "\x85RK\x01K\x02s.");
  EXPECT_EQ(defaults.root().size(), 1U);
  EXPECT_TRUE(Parsed(pickled_global("collections", "OrderedDict") + "]\x85R.")
                  .root()
                  .is(PickleKind::kObject));
}

TEST(PickleTest, PersistentReferences) {
  const Parsed parsed(pickled_text("storage") + "\x85Q.");
  ASSERT_TRUE(parsed.root().is(PickleKind::kPersistent));
  EXPECT_EQ(parsed.root().arguments().items()[0].text(), "storage");
}

TEST(PickleTest, AllProtocolsUpToFive) {
  for (char protocol = 0; protocol <= 5; ++protocol) {
    EXPECT_EQ(integer(std::string("\x80") + protocol + "K\x01"), 1);
  }
  EXPECT_EQ(integer(raw("\x80\x04\x95\x03\0\0\0\0\0\0\0K\x01")), 1);
}

TEST(PickleTest, WhatFollowsIsLeft) {
  const Parsed two("K\x01.K\x02.");
  EXPECT_EQ(two.root().integer(), 1);
  EXPECT_EQ(two.size(), 3U);
}

TEST(PickleTest, ValuesMayContainThemselves) {
  const Parsed list(
      raw("]q\0h\0"
          "a."));
  EXPECT_EQ(list.root().items()[0], list.root());
  const Parsed dict(raw("}q\0K\x01h\0s."));
  EXPECT_EQ(dict.root().pairs()[0].second, dict.root());
}

// 60 doublings: written out it would be 2^60 values.
TEST(PickleTest, SharedValuesAreNotCopied) {
  const Parsed bomb("K\x01\x85" + repeated("2\x86", 60) + ".");
  PickleValue value = bomb.root();
  for (int depth = 0; depth < 60; ++depth) {
    ASSERT_EQ(value.items()[0], value.items()[1]);
    value = value.items()[0];
  }
  EXPECT_EQ(value.items()[0].integer(), 1);
}

TEST(PickleTest, AMillionValuesAreRead) {
  const Parsed list("](" + repeated("N", (1 << 20) - 4) + "e.");
  EXPECT_EQ(list.root().size(), size_t{(1 << 20) - 4});
}

}  // namespace
}  // namespace ditmoe::formats
