#include "ditmoe/data/image_loader.h"

#include <filesystem>
#include <sys/stat.h>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "ditmoe/data/centre_crop.h"
#include "ditmoe/formats/image.h"

#include "tests/formats/temp_dir.h"
#include "tests/support/jpeg.h"

namespace ditmoe::data {
namespace {

namespace fs = std::filesystem;
using formats::test::TempDir;

class ImageLoaderTest : public ::testing::Test {
 protected:
  // Images of different sizes and contents.
  void put(int count) const {
    for (int i = 0; i < count; ++i) {
      const int width = 10 + i % 7;
      dir_.put(
          fmt::format("{:03}.jpg", i),
          tests::write_jpeg(width, 12, 3, tests::picture(width, 12, 3, static_cast<uint32_t>(i))));
    }
  }

  ImageFolder folder() const { return ImageFolder::open(dir_.path().string()); }

  TempDir dir_;
};

TEST_F(ImageLoaderTest, ImagesComeInOrderWhateverTheThreads) {
  put(40);
  const ImageFolder images = folder();
  for (const auto& [threads, ahead] : {std::pair{1, 1}, {1, 5}, {3, 2}, {4, 64}}) {
    ImageLoader loader(images, 3, 40, 8, threads, ahead);
    for (int64_t i = 3; i < 40; ++i) {
      const std::optional<LoadedImage> loaded = loader.next();
      ASSERT_TRUE(loaded.has_value());
      EXPECT_EQ(loaded->index, i);
      EXPECT_EQ(loaded->error, "");
      EXPECT_EQ(loaded->image.pixels_HWC,
                centre_crop(formats::read_image(images.path(i)), 8).pixels_HWC);
    }
    EXPECT_FALSE(loader.next().has_value());
    EXPECT_FALSE(loader.next().has_value());
  }
}

TEST_F(ImageLoaderTest, LeavingEarlyStopsTheThreads) {
  put(40);
  const ImageFolder images = folder();
  {
    ImageLoader loader(images, 0, 40, 8, 3, 4);
    EXPECT_TRUE(loader.next().has_value());
  }
  ImageLoader untouched(images, 0, 40, 8, 3, 4);
  ImageLoader nothing(images, 40, 40, 8, 3, 4);
  EXPECT_FALSE(nothing.next().has_value());
}

TEST_F(ImageLoaderTest, NoMoreThanAskedForIsDecodedAhead) {
  put(10);
  const ImageFolder images = folder();
  ImageLoader loader(images, 0, 10, 8, 2, 3);
  ASSERT_TRUE(loader.next().has_value());
  // Images 1 to 3 may be loaded by now; 4 cannot be, and is gone when its turn comes.
  fs::remove(dir_.file("004.jpg"));
  for (int64_t i = 1; i < 4; ++i) EXPECT_EQ(loader.next()->error, "");
  EXPECT_NE(loader.next()->error, "");
}

TEST_F(ImageLoaderTest, BadImagesCarryOneLineThatNamesThem) {
  put(1);
  const std::string whole = formats::test::bytes_of(dir_.file("000.jpg"));
  dir_.put("001.jpg", whole.substr(0, whole.size() / 2));
  dir_.put("002.jpg", "GIF89a");
  dir_.put("003.jpg", "");
  fs::create_symlink(dir_.file("absent"), dir_.file("004.jpg"));
  ASSERT_EQ(mkfifo(dir_.file("005.jpg").c_str(), 0600), 0);
  fs::create_symlink(dir_.file("006.jpg"), dir_.file("006.jpg"));
  dir_.put("007.jpg", whole);
  const ImageFolder images = folder();
  fs::remove(dir_.file("007.jpg"));  // after it was listed
  ImageLoader loader(images, 0, images.size(), 8, 2, 4);
  EXPECT_EQ(loader.next()->error, "");
  for (const char* reason : {"damaged JPEG",
                             "found a GIF",
                             "found an empty file",
                             "cannot be opened",
                             "a pipe",
                             "cannot be opened",
                             "cannot be opened"}) {
    const std::optional<LoadedImage> bad = loader.next();
    ASSERT_TRUE(bad.has_value());
    EXPECT_TRUE(bad->image.pixels_HWC.empty());
    EXPECT_TRUE(bad->error.starts_with(images.path(bad->index) + ": ")) << bad->error;
    EXPECT_NE(bad->error.find(reason), std::string::npos) << bad->error;
    EXPECT_EQ(bad->error.find('\n'), std::string::npos);
  }
  EXPECT_FALSE(loader.next().has_value());
}

}  // namespace
}  // namespace ditmoe::data
