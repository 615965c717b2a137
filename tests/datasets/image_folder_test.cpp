#include "ditmoe/data/image_folder.h"

#include <filesystem>
#include <gmock/gmock.h>

#include <gtest/gtest.h>

#include "tests/formats/temp_dir.h"

namespace ditmoe::data {
namespace {

namespace fs = std::filesystem;
using base::ErrorKind;
using formats::test::expect_error;
using formats::test::TempDir;
using ::testing::ElementsAre;

class ImageFolderTest : public ::testing::Test {
 protected:
  void put(const std::string& name) const {
    fs::create_directories(fs::path(dir_.file(name)).parent_path());
    dir_.put(name, "x");
  }

  ImageFolder open() const { return ImageFolder::open(dir_.path().string()); }

  std::vector<std::string> names() const {
    const ImageFolder folder = open();
    std::vector<std::string> names;
    for (int64_t i = 0; i < folder.size(); ++i) names.push_back(folder.name(i));
    return names;
  }

  void expect_refusal(const std::string& message) const {
    expect_error([&] { open(); }, ErrorKind::kBadInput, message);
  }

  TempDir dir_;
};

TEST_F(ImageFolderTest, ClassesAndImagesAreSortedByName) {
  for (const char* name : {"b/2.png", "b/10.JPG", "B/1.jpeg", "a/x.webp", "a/y.Tiff"}) put(name);
  const ImageFolder folder = open();
  EXPECT_THAT(folder.class_names(), ElementsAre("B", "a", "b"));
  EXPECT_THAT(names(), ElementsAre("B/1.jpeg", "a/x.webp", "a/y.Tiff", "b/10.JPG", "b/2.png"));
  EXPECT_EQ(folder.label(0), 0);
  EXPECT_EQ(folder.label(1), 1);
  EXPECT_EQ(folder.label(4), 2);
  EXPECT_EQ(folder.path(4), dir_.file("b/2.png"));
}

TEST_F(ImageFolderTest, NestedFoldersComeAsWholes) {
  // As text, "a" < "a/b" < "a0", and '-' comes before '/'.
  for (const char* name : {"a/z.png", "a/b/0.png", "a/b-c/0.png", "a/b/c/0.png"}) put(name);
  EXPECT_THAT(names(), ElementsAre("a/z.png", "a/b/0.png", "a/b-c/0.png", "a/b/c/0.png"));
}

TEST_F(ImageFolderTest, WithoutClassesAllLabelsAreZero) {
  for (const char* name : {"b.png", "a.jpg"}) put(name);
  const ImageFolder folder = open();
  EXPECT_TRUE(folder.class_names().empty());
  EXPECT_THAT(names(), ElementsAre("a.jpg", "b.png"));
  EXPECT_EQ(folder.label(1), 0);
}

TEST_F(ImageFolderTest, OtherFilesAndHiddenOnesArePassedOver) {
  for (const char* name :
       {"a/1.png", "a/readme.txt", "a/.hidden.png", ".cache/1.png", "a/jpg", "a/1.png.part"}) {
    put(name);
  }
  EXPECT_THAT(names(), ElementsAre("a/1.png"));
}

TEST_F(ImageFolderTest, LinksAreFollowedAndBrokenOnesListed) {
  put("real/1.png");
  fs::create_directory_symlink(dir_.file("real"), dir_.file("linked"));
  fs::create_symlink(dir_.file("real/1.png"), dir_.file("real/2.png"));
  fs::create_symlink(dir_.file("absent"), dir_.file("real/3.png"));
  EXPECT_THAT(names(),
              ElementsAre("linked/1.png",
                          "linked/2.png",
                          "linked/3.png",
                          "real/1.png",
                          "real/2.png",
                          "real/3.png"));
}

TEST_F(ImageFolderTest, FolderNamedLikeAnImageIsAFolder) {
  put("a/1.png/2.png");
  EXPECT_THAT(names(), ElementsAre("a/1.png/2.png"));
}

TEST_F(ImageFolderTest, WhatCannotBeIsRefused) {
  expect_refusal("expected images, found none");
  put("a/1.png");
  fs::create_directory(dir_.file("b"));
  expect_refusal("/b: expected images of this class, found none");
  put("b/1.png");
  put("c.png");
  expect_refusal("found both: \"c.png\" and \"a\"");
  expect_error([&] { ImageFolder::open(dir_.file("absent")); }, ErrorKind::kBadInput, "absent");
  expect_error([&] { ImageFolder::open(dir_.file("c.png")); }, ErrorKind::kBadInput, "c.png");
}

TEST_F(ImageFolderTest, LinkThatPointsBackIsRefused) {
  put("a/1.png");
  fs::create_directory_symlink(dir_.file("a"), dir_.file("a/back"));
  fs::create_directory_symlink(dir_.file("a"), dir_.file("a/again"));
  expect_refusal("does a link point back?");
}

TEST_F(ImageFolderTest, ClassNameThatIsNotUtf8IsRefused) {
  put("\xFF/1.png");
  expect_refusal("UTF-8");
}

TEST_F(ImageFolderTest, FingerprintTellsListsApart) {
  put("a/1.png");
  put("b/2.png");
  const std::string before = open().fingerprint();
  EXPECT_EQ(before.size(), 16U);
  EXPECT_EQ(open().fingerprint(), before);
  fs::rename(dir_.file("b/2.png"), dir_.file("b/3.png"));
  EXPECT_NE(open().fingerprint(), before);
  fs::rename(dir_.file("b/3.png"), dir_.file("b/2.png"));
  EXPECT_EQ(open().fingerprint(), before);
  dir_.put("b/2.png", "other");
  EXPECT_NE(open().fingerprint(), before);
  dir_.put("b/2.png", "y");  // other contents of the same size
  EXPECT_EQ(open().fingerprint(), before);
  fs::remove(dir_.file("b/2.png"));
  fs::create_symlink(dir_.file("absent"), dir_.file("b/2.png"));
  EXPECT_NE(open().fingerprint(), before);
  fs::remove(dir_.file("b/2.png"));
  put("b/2.png");
  put("aa/0.png");  // b becomes class 2
  fs::remove(dir_.file("aa/0.png"));
  put("aa/1.png");
  EXPECT_NE(open().fingerprint(), before);
}

}  // namespace
}  // namespace ditmoe::data
