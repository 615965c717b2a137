#include "ditmoe/data/open_dataset.h"

#include <gmock/gmock.h>
#include <vector>

#include <gtest/gtest.h>

#include "image_files.h"
#include "latent_cache_support.h"

namespace ditmoe::data {
namespace {

using base::DType;
using base::ErrorKind;
using formats::test::expect_error;
using test::whole;
using ::testing::ElementsAre;

class OpenDatasetTest : public LatentCacheTest {
 protected:
  static std::unique_ptr<Dataset> open(const DataSettings& settings) {
    return open_dataset(
        settings, 0, [](const std::string& key) { return "toy.toml:7: data." + key; });
  }

  // The message begins with the key, as the caller says where it stands.
  static void expect_refusal_of(const std::string& key,
                                const DataSettings& settings,
                                const std::string& message) {
    expect_error(
        [&] { open(settings); }, ErrorKind::kBadInput, message, "toy.toml:7: data." + key + ": ");
  }

  static void expect_bad_file(const DataSettings& settings,
                              const std::string& path,
                              const std::string& message) {
    expect_error([&] { open(settings); }, ErrorKind::kBadInput, message, path);
  }

  // Six grey images of 2x3 with labels 0, 1, 2, 0, 1, 2.
  DataSettings idx(const std::string& labels = std::string("\0\1\2\0\1\2", 6)) const {
    DataSettings settings{.kind = "idx"};
    settings.file = dir_.put("images", test::idx_images({6, 2, 3}));
    settings.labels = dir_.put("labels", test::idx_labels(labels));
    return settings;
  }

  using Arrays = std::vector<std::pair<std::string, base::TensorView>>;

  DataSettings npz(const Arrays& arrays) const {
    formats::write_npz(dir_.file("data.npz"), arrays);
    return {.kind = "npz", .file = dir_.file("data.npz")};
  }

  // Two images of 1x2 in colours.
  const base::Tensor images_ =
      whole(DType::kU8, {2, 1, 2, 3}, {0, 51, 102, 153, 204, 255, 1, 2, 3, 4, 5, 6});
  const base::Tensor labels_ = whole(DType::kI64, {2}, {3, 0});
};

std::vector<float> pixels(const Dataset& dataset, int64_t index) {
  std::vector<float> out(static_cast<size_t>(dataset.image_elements()));
  dataset.read(index, out);
  for (float& value : out) value = std::round((value + 1) * 127.5F);
  return out;
}

TEST_F(OpenDatasetTest, IdxImagesAreRead) {
  const auto dataset = open(idx());
  EXPECT_EQ(dataset->size(), 6);
  EXPECT_EQ(dataset->channels(), 1);
  EXPECT_EQ(dataset->height(), 2);
  EXPECT_EQ(dataset->width(), 3);
  EXPECT_THAT(dataset->class_names(), ElementsAre("0", "1", "2"));
  EXPECT_EQ(dataset->label(5), 2);
  EXPECT_THAT(pixels(*dataset, 1), ElementsAre(6, 7, 8, 9, 10, 11));
  std::vector<float> mirrored(6);
  EXPECT_TRUE(dataset->try_read(1, {.mirrored = true}, mirrored));
  EXPECT_FLOAT_EQ(mirrored[0], 8 / 127.5F - 1);
  EXPECT_FLOAT_EQ(mirrored[5], 9 / 127.5F - 1);
}

TEST_F(OpenDatasetTest, IdxImagesMayHaveColours) {
  DataSettings settings = idx();
  dir_.put("images", test::idx_images({6, 1, 2, 3}));
  EXPECT_THAT(pixels(*open(settings), 0), ElementsAre(0, 3, 1, 4, 2, 5));
  settings.channels = 1;
  EXPECT_THAT(pixels(*open(settings), 0), ElementsAre(1, 4));
  dir_.put("images", test::idx_images({6, 1, 2, 1}));
  EXPECT_THAT(pixels(*open(settings), 2), ElementsAre(4, 5));
  settings.channels = 3;
  EXPECT_THAT(pixels(*open(settings), 2), ElementsAre(4, 5, 4, 5, 4, 5));
}

TEST_F(OpenDatasetTest, ClassesMayBeNamedOrCounted) {
  DataSettings settings = idx();
  settings.class_names = {"cat", "dog", "eel"};
  EXPECT_EQ(open(settings)->class_names(), settings.class_names);
  settings.num_classes = 4;
  expect_refusal_of("num_classes", settings, "expected 3 as in " + settings.file + ", found 4");
  settings.class_names.clear();
  EXPECT_THAT(open(settings)->class_names(), ElementsAre("0", "1", "2", "3"));
  settings.num_classes = 2;
  expect_bad_file(settings, settings.labels, "label 2: expected one below 2, found 2");
  settings.num_classes = 0;
  settings.class_names = {"cat", "dog"};
  expect_bad_file(settings, settings.labels, "label 2: expected one below 2, found 2");
}

TEST_F(OpenDatasetTest, IdxFilesThatDoNotBelongTogetherAreRefused) {
  DataSettings settings = idx("\1\2\3");
  expect_bad_file(settings, settings.file, "as many labels, found [6, 2, 3] and [3]");
  settings = idx();
  dir_.put("images", test::idx_images({6}));
  expect_bad_file(settings, settings.file, "expected images of U8");
  dir_.put("images", test::idx_images({6, 2, 2, 4}));
  expect_bad_file(settings, settings.file, "found U8 [6, 2, 2, 4]");
  dir_.put("images", test::idx_images({0, 2, 2}));
  dir_.put("labels", test::idx_labels(""));
  expect_bad_file(settings, settings.file, "expected images, found [0, 2, 2]");
  settings.labels = dir_.file("absent");
  expect_bad_file(settings, settings.labels, "");
  settings.file = dir_.file("gone");
  expect_bad_file(settings, settings.file, "");
}

TEST_F(OpenDatasetTest, NpzArraysAreReadByAnyOfTheirNames) {
  for (const auto& [images, labels] :
       {std::pair{"images", "labels"}, {"arr_0", "arr_1"}, {"images", "y"}}) {
    const auto dataset = open(npz({{images, images_.view()}, {labels, labels_.view()}}));
    EXPECT_EQ(dataset->size(), 2);
    EXPECT_EQ(dataset->num_classes(), 4);
    EXPECT_EQ(dataset->label(0), 3);
    EXPECT_THAT(pixels(*dataset, 0), ElementsAre(0, 153, 51, 204, 102, 255));
  }
}

TEST_F(OpenDatasetTest, NpzArraysThatDoNotFitAreRefused) {
  const base::Tensor floats = base::convert(images_.view(), DType::kF32);
  const base::Tensor more = whole(DType::kI32, {3}, {0, 1, 2});
  const base::Tensor negative = whole(DType::kI8, {2}, {0, -1});
  const base::Tensor fractions = base::convert(labels_.view(), DType::kF32);
  const base::Tensor square = whole(DType::kU8, {2, 1}, {0, 1});
  const auto refuse = [&](const Arrays& arrays, const std::string& message) {
    const DataSettings settings = npz(arrays);
    expect_bad_file(settings, settings.file, message);
  };
  refuse({{"pictures", images_.view()}, {"y", labels_.view()}},
         "expected an array images or arr_0, found \"pictures, y\"");
  refuse({{"images", images_.view()}}, "expected an array labels or y or arr_1, found \"images\"");
  refuse({}, "found none");
  refuse({{"images", floats.view()}, {"y", labels_.view()}}, "array images: expected images of U8");
  refuse({{"images", images_.view()}, {"y", more.view()}},
         "array y: expected the labels of 2 images, found [3]");
  refuse({{"images", images_.view()}, {"y", square.view()}}, "found [2, 1]");
  refuse({{"images", images_.view()}, {"y", negative.view()}},
         "array y: label 1: expected 0 to 16777215, found -1");
  refuse({{"images", images_.view()}, {"y", fractions.view()}},
         "array y: expected whole numbers, found F32");
  DataSettings settings = npz({{"images", images_.view()}, {"y", labels_.view()}});
  settings.num_classes = 3;
  expect_bad_file(settings, settings.file, "label 0: expected one below 3, found 3");
  settings.file = dir_.file("absent.npz");
  expect_bad_file(settings, settings.file, "");
}

TEST_F(OpenDatasetTest, ManyClassesHaveToBeAskedFor) {
  const base::Tensor labels = whole(DType::kI32, {2}, {0, 70000});
  DataSettings settings = npz({{"images", images_.view()}, {"labels", labels.view()}});
  expect_refusal_of("num_classes", settings, "labels up to 70000");
  settings.num_classes = 70001;
  EXPECT_EQ(open(settings)->num_classes(), 70001);
}

TEST_F(OpenDatasetTest, ImageFoldersAreCropped) {
  test::put_png(dir_, "images/n01/a.png", 9, 10);
  test::put_png(dir_, "images/n02/b.png", 4, 20);
  test::put_png(dir_, "images/n02/c.png", 4, 30);
  DataSettings settings{.kind = "image_folder", .folder = dir_.file("images"), .image_size = 4};
  auto dataset = open(settings);
  EXPECT_EQ(dataset->size(), 3);
  EXPECT_EQ(dataset->channels(), 3);
  EXPECT_THAT(dataset->class_names(), ElementsAre("n01", "n02"));
  EXPECT_EQ(dataset->label(2), 1);
  EXPECT_FLOAT_EQ(pixels(*dataset, 1).front(), 20);
  settings.channels = 1;
  settings.limit = 2;
  dataset = open(settings);
  EXPECT_EQ(dataset->size(), 2);
  EXPECT_EQ(pixels(*dataset, 1).size(), 16U);
  settings.num_classes = 3;
  expect_refusal_of("num_classes", settings, "expected 2 as in " + settings.folder);
  settings.image_size = 0;
  expect_refusal_of("image_size", settings, "data of kind image_folder need it");
  settings.image_size = 4;
  settings.folder = dir_.file("nowhere");
  expect_bad_file(settings, settings.folder, "expected a folder");
}

TEST_F(OpenDatasetTest, LatentCachesAreOpenedWithTheirOwnMirrorImages) {
  LatentSettings latents = small_settings();
  write(latents);
  latents.flip = false;
  write(latents, "unflipped");
  DataSettings settings{.kind = "latents", .folder = dir_.file("cache"), .flip = true};
  const auto dataset = open(settings);
  EXPECT_EQ(dataset->num_images(), 6);
  std::vector<float> mirrored(kElements);
  std::vector<float> stored(kElements);
  EXPECT_TRUE(dataset->try_read(2, {.mirrored = true, .draw = 0}, mirrored));
  dataset->read(6 + 2, stored);
  EXPECT_EQ(mirrored, stored);
  settings.folder = dir_.file("unflipped");
  expect_refusal_of("flip", settings, settings.folder + " has no mirror images");
  settings.flip = false;
  EXPECT_FALSE(open(settings)->has_mirror_images());
  settings.channels = 4;
  expect_refusal_of("channels", settings, "expected 2 as in " + settings.folder + ", found 4");
  settings.channels = 2;
  settings.image_size = 4;
  expect_refusal_of("image_size", settings, "expected 3 as in");
  settings.folder = dir_.file("nowhere");
  expect_bad_file(settings, settings.folder, "found no index.json");
}

TEST_F(OpenDatasetTest, SettingsAreCheckedBeforeFiles) {
  const auto refuse =
      [](const std::string& key, const DataSettings& settings, const std::string& message) {
        expect_error(
            [&] { check_settings(settings, [](const std::string& name) { return "at " + name; }); },
            ErrorKind::kBadInput,
            message,
            "at " + key + ": ");
        expect_refusal_of(key, settings, message);
      };
  const std::string kinds =
      "expected one of fashion_mnist, idx, npz, image_folder, latents, found ";
  refuse("kind", {.kind = "cifar"}, kinds + "\"cifar\"");
  refuse("kind", {.kind = ""}, kinds);
  refuse("file", {.kind = "idx"}, "data of kind idx need it");
  refuse("labels", {.kind = "idx", .file = "f"}, "data of kind idx need it");
  refuse("file", {.kind = "npz"}, "data of kind npz need it");
  refuse("labels", {.kind = "npz", .file = "f", .labels = "l"}, "have no such setting");
  refuse("folder", {.kind = "npz", .folder = "d", .file = "f"}, "have no such setting");
  refuse("folder", {.kind = "latents"}, "data of kind latents need it");
  refuse("file", {.kind = "fashion_mnist", .file = "f"}, "have no such setting");
  refuse("class_names", {.class_names = {"a"}}, "have no such setting");
  refuse("folder", {.kind = "image_folder", .image_size = 8}, "need it");
  refuse("channels", {.channels = 4}, "expected 1 or 3 for data of kind fashion_mnist, found 4");
  refuse("channels", {.channels = -1}, "found -1");
  refuse("image_size", {.image_size = 10'000}, "expected 0 to 8192, found 10000");
  refuse("num_classes", {.num_classes = -2}, "found -2");
  refuse("limit", {.limit = -3}, "found -3");
  refuse("weight", {.weight = 0}, "expected a number above 0, found 0");
  refuse("weight", {.weight = std::nan("")}, "found nan");
}

TEST_F(OpenDatasetTest, FashionMnistMayHaveColours) {
  dir_.put("train-images-idx3-ubyte.gz", test::idx_images({2, 28, 28}));
  dir_.put("train-labels-idx1-ubyte.gz", test::idx_labels("\3\4"));
  DataSettings settings{.folder = dir_.path().string(), .image_size = 28, .channels = 3};
  const auto dataset = open(settings);
  EXPECT_EQ(dataset->num_classes(), 10);
  EXPECT_EQ(dataset->image_elements(), 3 * 28 * 28);
  EXPECT_EQ(pixels(*dataset, 0)[28 * 28 + 5], 5);
  settings.image_size = 32;
  expect_refusal_of("image_size", settings, "expected 28 as in " + settings.folder);
  settings.folder = dir_.file("nowhere");
  expect_bad_file(settings, settings.folder, "dataset-fashion-mnist");
  dir_.put("train-images-idx3-ubyte.gz", test::idx_images({2, 4, 4, 3}));
  expect_bad_file({.folder = dir_.path().string()}, dir_.path().string(), "expected grey images");
}

}  // namespace
}  // namespace ditmoe::data
