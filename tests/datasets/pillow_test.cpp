// Decoding and cropping against Pillow, bit for bit.

#include <cstdlib>
#include <filesystem>
#include <sys/wait.h>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "ditmoe/data/centre_crop.h"
#include "ditmoe/formats/image.h"
#include "ditmoe/formats/npz.h"

#include "tests/formats/temp_dir.h"
#include "tests/support/jpeg.h"

namespace ditmoe::data {
namespace {

using formats::test::TempDir;
using tests::JpegSpec;
using tests::picture;
using tests::write_jpeg;

// Kinds of JPEG that Pillow reads but does not write.
void put_jpegs(const TempDir& dir) {
  const auto put = [&](const char* name, int components, const JpegSpec& spec) {
    dir.put(name, write_jpeg(93, 41, components, picture(93, 41, components), spec));
  };
  put("grey_restarts.jpg", 1, {.input = JCS_GRAYSCALE, .stored = JCS_GRAYSCALE, .restart_rows = 1});
  put("rgb_stored.jpg", 3, {.stored = JCS_RGB, .luma_h = 1, .luma_v = 1});
  put("arithmetic.jpg", 3, {.arithmetic = true});
  put("arithmetic_progressive.jpg", 3, {.progressive = true, .arithmetic = true});
  put("sampling_4x1.jpg", 3, {.luma_h = 4, .luma_v = 1});
  put("sampling_1x2.jpg", 3, {.luma_h = 1, .luma_v = 2});
  put("sampling_4x2.jpg", 3, {.luma_h = 4, .luma_v = 2});
  put("ycck.jpg", 4, {.input = JCS_CMYK, .stored = JCS_YCCK});
  put("cmyk.jpg", 4, {.input = JCS_CMYK, .stored = JCS_CMYK, .luma_h = 1, .luma_v = 1});
  put("cmyk_without_adobe.jpg",
      4,
      {.input = JCS_CMYK, .stored = JCS_CMYK, .luma_h = 1, .luma_v = 1, .adobe = false});
  dir.put("large.jpg", write_jpeg(1811, 1283, 3, picture(1811, 1283, 3)));
  dir.put("wide.jpg", write_jpeg(3001, 7, 3, picture(3001, 7, 3)));
  dir.put("trailing.jpg", write_jpeg(20, 30, 3, picture(20, 30, 3)) + "and more");
}

int64_t differing(std::span<const uint8_t> found, std::span<const uint8_t> expected) {
  if (found.size() != expected.size()) return static_cast<int64_t>(expected.size());
  int64_t count = 0;
  for (size_t i = 0; i < found.size(); ++i) count += found[i] != expected[i] ? 1 : 0;
  return count;
}

TEST(PillowTest, ImagesAndCropsAreTheSameBits) {
  const TempDir dir;
  put_jpegs(dir);
  const std::string command =
      fmt::format("/usr/bin/python3 -B {}/images.py {} 600", DITMOE_ORACLE, dir.path().string());
  const int status = std::system(command.c_str());
  if (WIFEXITED(status) && (WEXITSTATUS(status) == 77 || WEXITSTATUS(status) == 127)) {
    GTEST_SKIP() << "python3-pil or python3-numpy is not installed";
  }
  ASSERT_EQ(status, 0);
  const auto expected = formats::read_npz(dir.file("expected.npz"));
  int64_t count = 0;
  for (const auto& [key, rgb] : expected) {
    if (!key.starts_with("rgb/")) continue;
    const std::string name = key.substr(4);
    SCOPED_TRACE(name);
    const formats::Image image = formats::read_image(dir.file(name));
    EXPECT_EQ(base::Shape({image.height, image.width, image.channels}), rgb.shape());
    EXPECT_EQ(differing(image.pixels_HWC, rgb.as<uint8_t>()), 0);
    const base::Tensor& crop = expected.at("crop/" + name);
    const formats::Image cropped = centre_crop(image, expected.at("size/" + name).as<int64_t>()[0]);
    EXPECT_EQ(base::Shape({cropped.height, cropped.width, cropped.channels}), crop.shape());
    EXPECT_EQ(differing(cropped.pixels_HWC, crop.as<uint8_t>()), 0);
    ++count;
  }
  EXPECT_EQ(count, 613);
}

}  // namespace
}  // namespace ditmoe::data
