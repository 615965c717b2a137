#include "ditmoe/formats/toml.h"

#include <gtest/gtest.h>

#include "temp_dir.h"

namespace ditmoe::formats {
namespace {

using base::ErrorKind;
using test::expect_error;
using test::TempDir;

constexpr auto kRecipe = R"(name = "fashion"
classes = ["shirt", "bag"]

[train]
steps = 100
lr = 1e-3
shapes = [1, 2]
ema = true
)";

TEST(TomlTest, EveryTypeIsRead) {
  TomlDocument document = TomlDocument::parse(kRecipe, "a.toml");
  std::string name;
  std::vector<std::string> classes;
  int64_t steps = 0;
  double lr = 0;
  double steps_as_float = 0;
  std::vector<int64_t> shapes;
  bool ema = false;
  document.get("name", name);
  document.get("classes", classes);
  document.get("train.steps", steps);
  document.get("train.lr", lr);
  document.get("train.steps", steps_as_float);
  document.get("train.shapes", shapes);
  document.get("train.ema", ema);
  EXPECT_EQ(name, "fashion");
  EXPECT_EQ(classes, (std::vector<std::string>{"shirt", "bag"}));
  EXPECT_EQ(steps, 100);
  EXPECT_EQ(lr, 1e-3);
  EXPECT_EQ(steps_as_float, 100.0);
  EXPECT_EQ(shapes, (std::vector<int64_t>{1, 2}));
  EXPECT_TRUE(ema);
  document.finish();
}

TEST(TomlTest, AbsentKeyKeepsTheDefault) {
  TomlDocument document = TomlDocument::parse("", "a.toml");
  int64_t steps = 7;
  document.get("train.steps", steps);
  EXPECT_EQ(steps, 7);
  EXPECT_FALSE(document.contains("train.steps"));
  document.finish();
}

TEST(TomlTest, OpenNamesTheFileAndLine) {
  const TempDir dir;
  const std::string path = dir.put("a.toml", "a = 1\nb = \n");
  expect_error([&] { TomlDocument::open(path); }, ErrorKind::kBadInput, path + ":2: ");
  expect_error([&] { TomlDocument::open(dir.file("missing")); }, ErrorKind::kBadInput, "missing");
}

TEST(TomlTest, UnknownKeySuggestsTheNearest) {
  TomlDocument document = TomlDocument::parse("[train]\nlr = 1\nbatchsize = 2\n", "a.toml");
  double number = 0;
  document.get("train.lr", number);
  document.get("train.batch_size", number);
  expect_error([&] { document.finish(); },
               ErrorKind::kBadInput,
               "a.toml:3: unknown key 'train.batchsize', did you mean 'train.batch_size'?");
}

TEST(TomlTest, UnknownTableSuggestsTheNearestKey) {
  TomlDocument document = TomlDocument::parse("[trian]\nlr = 1\n", "a.toml");
  double lr = 0;
  document.get("train.lr", lr);
  expect_error([&] { document.finish(); },
               ErrorKind::kBadInput,
               "a.toml:2: unknown key 'trian.lr', did you mean 'train.lr'?");
}

TEST(TomlTest, UnknownKeyWithoutANeighbourIsJustNamed) {
  TomlDocument document = TomlDocument::parse("whatever = 1", "a.toml");
  try {
    document.finish();
    FAIL();
  } catch (const base::Error& error) {
    EXPECT_STREQ(error.what(), "a.toml:1: unknown key 'whatever'");
  }
}

TEST(TomlTest, QuotedKeyIsNotAPath) {
  TomlDocument document = TomlDocument::parse("\"train.lr\" = 1", "a.toml");
  double lr = 5;
  document.get("train.lr", lr);
  EXPECT_EQ(lr, 5);
  expect_error([&] { document.finish(); }, ErrorKind::kBadInput, "unknown key");
}

TEST(TomlTest, UnknownKeysAreShownInOneShortLine) {
  const auto refuse = [](const std::string& text, const std::string& fragment) {
    const TomlDocument document = TomlDocument::parse(text, "a.toml");
    expect_error([&] { document.finish(); }, ErrorKind::kBadInput, fragment);
  };
  refuse("a.\"@\\t\\n\" = 0", "unknown key 'a.\"@\\t\\n\"'");
  refuse("\"\\n\" = 0", "unknown key '\"\\n\"'");
  refuse(std::string(5000, 'k') + " = 0", "(5000 bytes)");
  std::string deep = "k";
  for (int i = 0; i < 30; ++i) deep += "." + std::string(150, 'k');
  refuse(deep + " = 0", "kkk...'");
}

TEST(TomlTest, KeyWithinAKnownValueIsUnknown) {
  TomlDocument document = TomlDocument::parse("[train.lr]\nx = 1\n[[train.list]]\n", "a.toml");
  double lr = 0;
  expect_error([&] { document.get("train.lr", lr); }, ErrorKind::kBadInput, "found a table");
  expect_error([&] { document.finish(); }, ErrorKind::kBadInput, "'train.list'");
}

TEST(TomlTest, SetOverridesAddsAndTypes) {
  TomlDocument document = TomlDocument::parse(kRecipe, "a.toml");
  document.set("train.steps=5");
  document.set("train.lr=2.5e-4");
  document.set("train.shapes=[3]");
  document.set("train.ema=false");
  document.set("name=bare_word");
  document.set("data.path=/usr/share/x.y");
  document.set("data.title=\"two words\"");
  int64_t steps = 0;
  double lr = 0;
  std::vector<int64_t> shapes;
  bool ema = true;
  std::string name;
  std::string path;
  std::string title;
  document.get("train.steps", steps);
  document.get("train.lr", lr);
  document.get("train.shapes", shapes);
  document.get("train.ema", ema);
  document.get("name", name);
  document.get("data.path", path);
  document.get("data.title", title);
  EXPECT_EQ(steps, 5);
  EXPECT_EQ(lr, 2.5e-4);
  EXPECT_EQ(shapes, std::vector<int64_t>{3});
  EXPECT_FALSE(ema);
  EXPECT_EQ(name, "bare_word");
  EXPECT_EQ(path, "/usr/share/x.y");
  EXPECT_EQ(title, "two words");
}

TEST(TomlTest, SetOfAnUnknownKeyPointsToTheOption) {
  TomlDocument document = TomlDocument::parse("", "a.toml");
  document.set("train.deep.lrr=1");
  double lr = 0;
  document.get("train.deep.lr", lr);
  expect_error([&] { document.finish(); },
               ErrorKind::kBadInput,
               "--set: unknown key 'train.deep.lrr', did you mean 'train.deep.lr'?");
}

TEST(TomlTest, SetRefusesWhatIsNotOneAssignment) {
  for (const char* assignment : {"steps",
                                 "=1",
                                 "a..b=1",
                                 ".a=1",
                                 "a.=1",
                                 "a b=1",
                                 "a=",
                                 "a=[1",
                                 "a=two words",
                                 "a=1\nb=2",
                                 "a=1e",
                                 "a=\"",
                                 "name.x=1"}) {
    TomlDocument document = TomlDocument::parse(kRecipe, "a.toml");
    expect_error([&] { document.set(assignment); }, ErrorKind::kBadInput, "--set ");
  }
}

TEST(TomlTest, WherePointsToLineOrOption) {
  TomlDocument document = TomlDocument::parse(kRecipe, "a.toml");
  EXPECT_EQ(document.where("train.lr"), "a.toml:6: train.lr");
  EXPECT_EQ(document.where("absent"), "a.toml: absent");
  document.set("train.lr=1");
  EXPECT_EQ(document.where("train.lr"), "--set train.lr");
}

struct TypeCase {
  std::string text;
  std::string message;
};

template <typename T>
void expect_wrong_type(const std::vector<TypeCase>& cases) {
  for (const auto& [text, message] : cases) {
    TomlDocument document = TomlDocument::parse("\nk = " + text, "a.toml");
    T value{};
    expect_error(
        [&] { document.get("k", value); }, ErrorKind::kBadInput, "a.toml:2: k: " + message);
  }
}

TEST(TomlTest, WrongTypeNamesLineKeyExpectedAndFound) {
  expect_wrong_type<int64_t>({{"1.5", "expected an integer, found 1.5"},
                              {"\"x\"", "expected an integer, found \"x\""},
                              {"[1]", "expected an integer, found an array"}});
  expect_wrong_type<double>({{"true", "expected a finite number, found true"},
                             {"nan", "expected a finite number, found nan"},
                             {"inf", "expected a finite number, found inf"},
                             {"2001-01-01", "expected a finite number, found a date"}});
  expect_wrong_type<bool>({{"1", "expected true or false, found 1"}});
  expect_wrong_type<std::string>({{"1", "expected a string, found 1"}});
  expect_wrong_type<std::vector<int64_t>>({{"1", "expected an array of integers, found 1"},
                                           {"[1.5]", "expected an array of integers, found 1.5"}});
  expect_wrong_type<std::vector<std::string>>(
      {{"[\"a\", 1]", "expected an array of strings, found 1"},
       {"{}", "expected an array of strings, found a table"}});
}

std::string repeated(const std::string& text, int count) {
  std::string out;
  for (int i = 0; i < count; ++i) out += text;
  return out;
}

TEST(TomlTest, DotsElsewhereThanInKeysAreNotCounted) {
  const std::string dots(60, '.');
  const std::string thrice(3, '\'');
  TomlDocument document = TomlDocument::parse("# " + dots + "\na = \"" + dots + "\\\"" + dots +
                                                  "\"\nb = [1.5, 2.5]\nc = " + thrice + "\n" +
                                                  dots + "''" + dots + thrice + "\n",
                                              "a.toml");
  std::string a;
  std::string c;
  document.get("a", a);
  document.get("c", c);
  EXPECT_EQ(a, dots + "\"" + dots);
  EXPECT_EQ(c, dots + "''" + dots);
}

TEST(TomlTest, TheDeepestDocumentAllowedFitsTheStack) {
  const std::string level = "{" + repeated("a.", 30) + "a=";
  TomlDocument document =
      TomlDocument::parse("a = " + repeated(level, 200) + "1" + repeated("}", 200), "a.toml");
  expect_error([&] { document.set("a=1e"); }, ErrorKind::kBadInput, "--set a");
}

TEST(NearestWordTest, CountsInsertionDeletionReplacementAndSwap) {
  const std::vector<std::string> words = {"sample", "train", "inspect"};
  EXPECT_EQ(nearest_word("sampel", words), "sample");
  EXPECT_EQ(nearest_word("trian", words), "train");
  EXPECT_EQ(nearest_word("rain", words), "train");
  EXPECT_EQ(nearest_word("trains", words), "train");
  EXPECT_EQ(nearest_word("inspact", words), "inspect");
}

TEST(NearestWordTest, FarWordsAreNotSuggested) {
  EXPECT_EQ(nearest_word("xyz", {"sample", "train"}), "");
  EXPECT_EQ(nearest_word("", {"sample"}), "");
  EXPECT_EQ(nearest_word("sample", {}), "");
}

TEST(NearestWordTest, TheClosestWins) {
  EXPECT_EQ(nearest_word("train.lrr", {"train.lora", "train.lr", "train.l"}), "train.lr");
}

}  // namespace
}  // namespace ditmoe::formats
