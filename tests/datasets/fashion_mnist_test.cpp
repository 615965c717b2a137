#include <filesystem>
#include <gmock/gmock.h>
#include <string>
#include <unistd.h>

#include <gtest/gtest.h>

#include "ditmoe/base/error.h"
#include "ditmoe/data/dataset.h"
#include "ditmoe/formats/file.h"

namespace ditmoe::data {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

constexpr const char* kDebianFolder = "/usr/share/datasets/fashion-mnist";

class FashionMnistTest : public ::testing::Test {
 protected:
  FashionMnistTest() : folder_(fs::temp_directory_path() / fmt::format("ditmoe-fm-{}", getpid())) {
    fs::create_directories(folder_);
  }

  ~FashionMnistTest() override { fs::remove_all(folder_); }

  // Two images of 2x2, and these labels.
  void write(const std::string& labels) const {
    const std::string images(
        "\0\0\x08\x03\0\0\0\x02\0\0\0\x02\0\0\0\x02\0\x7F\xFF\x40\x01\x02\x03\x04", 24);
    const std::string heading("\0\0\x08\x01\0\0\0", 7);
    formats::write_text((folder_ / "train-images-idx3-ubyte.gz").string(), images);
    formats::write_text((folder_ / "train-labels-idx1-ubyte.gz").string(),
                        heading + static_cast<char>(labels.size()) + labels);
  }

  std::string fault() const {
    try {
      open_fashion_mnist(folder_.string(), Split::kTrain);
    } catch (const base::Error& error) {
      EXPECT_EQ(error.kind(), base::ErrorKind::kBadInput);
      return error.what();
    }
    return "";
  }

  fs::path folder_;
};

TEST_F(FashionMnistTest, ScalesPixelsToTheUnitInterval) {
  write({3, 9});
  const auto dataset = open_fashion_mnist(folder_.string(), Split::kTrain);
  ASSERT_EQ(dataset->size(), 2);
  EXPECT_EQ(dataset->label(1), 9);
  float pixels[4];
  dataset->read(0, pixels);
  EXPECT_FLOAT_EQ(pixels[0], -1.0F);
  EXPECT_NEAR(pixels[1], 0.0F, 0.01F);
  EXPECT_FLOAT_EQ(pixels[2], 1.0F);
}

TEST_F(FashionMnistTest, RefusesLabelsOutOfRange) {
  write({3, 10});
  EXPECT_THAT(fault(), HasSubstr("found 10"));
}

TEST_F(FashionMnistTest, RefusesAnotherNumberOfLabels) {
  write({3, 4, 5});
  EXPECT_THAT(fault(), HasSubstr("as many labels"));
}

TEST_F(FashionMnistTest, RefusesFilesWithoutPixels) {
  const std::string images = (folder_ / "train-images-idx3-ubyte.gz").string();
  write("");
  formats::write_text(images, std::string("\0\0\x08\x03\0\0\0\0\0\0\0\x02\0\0\0\x02", 16));
  EXPECT_THAT(fault(), HasSubstr("expected images, found [0, 2, 2]"));
  write({3, 9});
  formats::write_text(images, std::string("\0\0\x08\x03\0\0\0\x02\0\0\0\0\0\0\0\x02", 16));
  EXPECT_THAT(fault(), HasSubstr("expected images, found [2, 0, 2]"));
}

TEST_F(FashionMnistTest, NamesThePackageOfMissingData) {
  EXPECT_THAT(fault(), HasSubstr("dataset-fashion-mnist"));
}

TEST(FashionMnistOnDiskTest, HasTheImagesItShould) {
  if (!fs::exists(kDebianFolder)) GTEST_SKIP() << kDebianFolder << " is missing";
  const auto dataset = open_fashion_mnist(kDebianFolder, Split::kTest);
  EXPECT_EQ(dataset->size(), 10'000);
  EXPECT_EQ(dataset->num_classes(), 10);
  EXPECT_EQ(dataset->label(0), 9);  // the published first test image is an ankle boot
}

}  // namespace
}  // namespace ditmoe::data
