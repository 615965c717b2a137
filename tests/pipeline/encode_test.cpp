#include "ditmoe/pipeline/encode.h"

#include <filesystem>
#include <fstream>
#include <limits>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "ditmoe/data/centre_crop.h"
#include "ditmoe/data/corrupt_list.h"
#include "ditmoe/data/latent_dataset.h"
#include "ditmoe/formats/image.h"

#include "tests/formats/temp_dir.h"

namespace ditmoe::pipeline {
namespace {

namespace fs = std::filesystem;
using base::ErrorKind;
using formats::test::bytes_of;
using formats::test::expect_error;
using formats::test::TempDir;

// Latents [3, size / 2, size / 2]: means are every second pixel of every second row over 256, times
// the factor, the log-variances minus that.
class FakeEncoder final : public data::LatentEncoder {
 public:
  base::Shape latent_shape(int64_t image_size) const override {
    if (image_size % 2 != 0) base::bad_input("size {}: expected an even one", image_size);
    return {3, image_size / 2, image_size / 2};
  }

  void encode(const base::TensorView& images_NHWC,
              std::span<float> mean,
              std::span<float> logvar) override {
    batches.push_back(images_NHWC.shape[0]);
    if (fail_after > 0 && static_cast<int64_t>(batches.size()) > fail_after) {
      base::failure("stopped");
    }
    const int64_t size = images_NHWC.shape[1];
    const auto pixels = images_NHWC.as<uint8_t>();
    size_t at = 0;
    for (int64_t n = 0; n < images_NHWC.shape[0]; ++n) {
      for (int64_t c = 0; c < 3; ++c) {
        for (int64_t y = 0; y < size; y += 2) {
          for (int64_t x = 0; x < size; x += 2) {
            const auto pixel = static_cast<size_t>(((n * size + y) * size + x) * 3 + c);
            mean[at] = factor * (pixels[pixel] / 256.0F);
            logvar[at] = -mean[at];
            ++at;
          }
        }
      }
    }
    EXPECT_EQ(at, mean.size());
    EXPECT_EQ(at, logvar.size());
  }

  std::vector<int64_t> batches;
  int64_t fail_after = 0;
  float factor = 1;
};

class EncodeTest : public ::testing::Test {
 protected:
  EncodeTest() {
    for (int i = 0; i < 11; ++i) {
      formats::Image image{6 + i, 9, 3, {}, {}};
      for (int64_t k = 0; k < image.width * image.height * 3; ++k) {
        image.pixels_HWC.push_back(static_cast<uint8_t>(k * (2 * i + 3)));
      }
      const std::string name = path(i);
      fs::create_directories(fs::path(name).parent_path());
      formats::write_png(name, image);
    }
    settings_.autoencoder = "fake";
    settings_.precision = "f32";
    settings_.image_size = 4;
    settings_.dtype = base::DType::kF32;
    settings_.flip = true;
    settings_.images_per_shard = 4;
    options_.batch = 3;
    options_.decoders = 2;
  }

  std::string path(int i) const {
    return dir_.file(fmt::format("images/{}/{:02}.png", i < 5 ? "cats" : "dogs", i));
  }

  EncodeResult encode(data::LatentEncoder& encoder, const std::string& out = "cache") {
    const auto folder = data::ImageFolder::open(dir_.file("images"));
    return encode_folder(folder, encoder, settings_, options_, dir_.file(out));
  }

  // What the fake makes of image i, from the image itself.
  std::vector<float> expected_mean(int i, bool flipped) const {
    const formats::Image image = data::centre_crop(formats::read_image(path(i)), 4);
    std::vector<float> mean;
    for (int64_t c = 0; c < 3; ++c) {
      for (const int64_t y : {0, 2}) {
        for (const int64_t x : {0, 2}) {
          const int64_t column = flipped ? 3 - x : x;
          mean.push_back(image.pixels_HWC[static_cast<size_t>((y * 4 + column) * 3 + c)] / 256.0F);
        }
      }
    }
    return mean;
  }

  TempDir dir_;
  data::LatentSettings settings_;
  EncodeOptions options_;
};

TEST_F(EncodeTest, CacheHoldsTheImagesAndTheirMirrorImages) {
  FakeEncoder encoder;
  const EncodeResult result = encode(encoder);
  EXPECT_EQ(result.images, 11);
  EXPECT_EQ(result.corrupt, 0);
  EXPECT_EQ(result.encoded, 11);
  EXPECT_EQ(result.shards, 3);
  // Each batch and its mirror images; no batch spans two shards.
  EXPECT_EQ(encoder.batches, (std::vector<int64_t>{3, 3, 1, 1, 3, 3, 1, 1, 3, 3}));
  const auto dataset = data::LatentDataset::open(dir_.file("cache"));
  ASSERT_EQ(dataset->size(), 22);
  for (int shard = 0; shard < 3; ++shard) {
    const auto file = formats::SafetensorsFile::open(
        dir_.file(fmt::format("cache/latents-{:05}.safetensors", shard)));
    const auto mean = file.view("mean").as<float>();
    const auto mirrored = file.view("mean_flip").as<float>();
    const auto logvar = file.view("logvar_flip").as<float>();
    for (int row = 0; row < file.view("mean").shape[0]; ++row) {
      const auto begin = static_cast<size_t>(row) * 12;
      const std::vector<float> expected = expected_mean(4 * shard + row, false);
      const std::vector<float> expected_mirrored = expected_mean(4 * shard + row, true);
      for (size_t k = 0; k < 12; ++k) {
        EXPECT_EQ(mean[begin + k], expected[k]);
        EXPECT_EQ(mirrored[begin + k], expected_mirrored[k]);
        EXPECT_EQ(logvar[begin + k], -expected_mirrored[k]);
      }
      EXPECT_EQ(dataset->label(4 * shard + row), 4 * shard + row < 5 ? 0 : 1);
    }
  }
  EXPECT_EQ(dataset->class_names(), (std::vector<std::string>{"cats", "dogs"}));
}

TEST_F(EncodeTest, BatchAndThreadsDoNotChangeTheFiles) {
  FakeEncoder encoder;
  encode(encoder, "one");
  options_.batch = 1;
  options_.decoders = 4;
  encode(encoder, "other");
  for (const char* name :
       {"index.json", "latents-00000.safetensors", "latents-00002.safetensors"}) {
    EXPECT_EQ(bytes_of(dir_.file("one/" + std::string(name))),
              bytes_of(dir_.file("other/" + std::string(name))));
  }
}

TEST_F(EncodeTest, StoppedRunIsTakenUpAndEqualsAnUndisturbedOne) {
  FakeEncoder failing;
  failing.fail_after = 7;  // in the second shard
  expect_error([&] { encode(failing); }, ErrorKind::kFailure, "stopped");
  FakeEncoder encoder;
  const EncodeResult result = encode(encoder);
  EXPECT_EQ(result.images, 11);
  EXPECT_EQ(result.encoded, 7);
  FakeEncoder undisturbed;
  encode(undisturbed, "whole");
  for (const auto& entry : fs::directory_iterator(dir_.file("whole"))) {
    const std::string name = entry.path().filename().string();
    EXPECT_EQ(bytes_of(entry.path().string()), bytes_of(dir_.file("cache/" + name)));
  }
  FakeEncoder idle;
  EXPECT_EQ(encode(idle).encoded, 0);
  EXPECT_TRUE(idle.batches.empty());
}

TEST_F(EncodeTest, CorruptImagesAreListedUpToTheRate) {
  dir_.put("images/cats/01.png", "GIF89a");
  dir_.put("images/dogs/10.png", bytes_of(path(10)).substr(0, 60));
  options_.max_corrupt = 2.0 / 11;
  FakeEncoder encoder;
  const EncodeResult result = encode(encoder);
  EXPECT_EQ(result.images, 9);
  EXPECT_EQ(result.corrupt, 2);
  EXPECT_EQ(result.read, 11);
  EXPECT_EQ(result.encoded, 9);
  EXPECT_EQ(data::read_latent_index(dir_.file("cache"))->corrupt(), 2);
  std::ifstream list(data::corrupt_list_path(dir_.file("cache")));
  std::string line;
  ASSERT_TRUE(std::getline(list, line));
  EXPECT_EQ(line,
            R"({"image":"cats/01.png","reason":"byte 0: expected a PNG or a JPEG, found a GIF"})");
  ASSERT_TRUE(std::getline(list, line));
  EXPECT_TRUE(line.starts_with(R"({"image":"dogs/10.png","reason":"byte )")) << line;
  EXPECT_FALSE(std::getline(list, line));
  EXPECT_EQ(data::LatentDataset::open(dir_.file("cache"))->size(), 18);
}

TEST_F(EncodeTest, RateIsNotRoundedDownByAnImage) {
  // As many as make 100 images, 29 of them corrupt; 0.29 · 100 is less than 29.
  const std::string good = bytes_of(path(0));
  for (int i = 0; i < 89; ++i) {
    dir_.put(fmt::format("images/cats/more{}.png", i), i < 29 ? "" : good);
  }
  FakeEncoder encoder;
  options_.max_corrupt = 0.28;
  expect_error([&] { encode(encoder); }, ErrorKind::kFailure, "29 of 100 images are corrupt");
  options_.max_corrupt = 0.29;
  EXPECT_EQ(encode(encoder).corrupt, 29);
}

TEST_F(EncodeTest, MoreCorruptImagesThanTheRateAreAFailureThatNamesTheLast) {
  dir_.put("images/cats/01.png", "");
  dir_.put("images/dogs/10.png", "");
  options_.max_corrupt = 0.1;
  FakeEncoder encoder;
  expect_error([&] { encode(encoder); }, ErrorKind::kFailure, "2 of 11 images are corrupt");
  expect_error([&] { encode(encoder); }, ErrorKind::kFailure, path(10));
  // The shards before it are there, and a larger rate goes on with them.
  options_.max_corrupt = 0.2;
  FakeEncoder later;
  const EncodeResult result = encode(later);
  EXPECT_EQ(result.images, 9);
  EXPECT_EQ(result.encoded, 2);
  // The corrupt images of earlier runs count.
  options_.max_corrupt = 0.1;
  expect_error([&] { encode(later); }, ErrorKind::kFailure, "2 of 11 images are corrupt");
  expect_error([&] { encode(later); }, ErrorKind::kFailure, dir_.file("cache/corrupt.jsonl"));
}

TEST_F(EncodeTest, AllImagesCorruptMakeAnEmptyCacheThatCannotBeOpened) {
  for (int i = 0; i < 11; ++i) dir_.put(fs::relative(path(i), dir_.path()).string(), "x");
  options_.max_corrupt = 1;
  FakeEncoder encoder;
  const EncodeResult result = encode(encoder);
  EXPECT_EQ(result.corrupt, 11);
  EXPECT_EQ(result.read, 11);
  EXPECT_EQ(result.encoded, 0);
  EXPECT_TRUE(encoder.batches.empty());
  EXPECT_EQ(encode(encoder).read, 0);
  expect_error([&] { data::LatentDataset::open(dir_.file("cache")); },
               ErrorKind::kBadInput,
               "all 11 images were corrupt");
}

TEST_F(EncodeTest, OtherImagesAreNoticedByTheirSize) {
  FakeEncoder encoder;
  encode(encoder);
  dir_.put("images/cats/01.png", bytes_of(path(1)) + "x");
  expect_error([&] { encode(encoder); }, ErrorKind::kBadInput, "other images, by name, label");
}

TEST_F(EncodeTest, DamagedShardIsEncodedAgain) {
  FakeEncoder encoder;
  encode(encoder);
  const std::string shard = dir_.file("cache/latents-00001.safetensors");
  const std::string whole = bytes_of(shard);
  const std::string last = bytes_of(dir_.file("cache/latents-00002.safetensors"));
  dir_.put("cache/latents-00001.safetensors", whole.substr(0, whole.size() / 2));
  const EncodeResult result = encode(encoder);
  EXPECT_EQ(result.read, 7);
  EXPECT_EQ(result.encoded, 7);
  EXPECT_EQ(result.images, 11);
  EXPECT_EQ(bytes_of(shard), whole);
  EXPECT_EQ(bytes_of(dir_.file("cache/latents-00002.safetensors")), last);
}

TEST_F(EncodeTest, ValueThatCannotBeStoredNamesTheImage) {
  FakeEncoder encoder;
  encoder.factor = std::numeric_limits<float>::infinity();
  expect_error([&] { encode(encoder); }, ErrorKind::kFailure, "image \"cats/00.png\": expected");
}

TEST_F(EncodeTest, CacheAmongTheImagesIsRefused) {
  FakeEncoder encoder;
  for (const char* out : {"images/latents", "images", "images/", "images/a/b", "images/./x/../y"}) {
    expect_error([&] { encode(encoder, out); }, ErrorKind::kBadInput, "outside", dir_.file(out));
  }
  EXPECT_FALSE(fs::exists(dir_.file("images/latents")));
  fs::create_directory_symlink(dir_.file("images"), dir_.file("linked"));
  expect_error([&] { encode(encoder, "linked/latents"); }, ErrorKind::kBadInput, "outside");
  EXPECT_EQ(encode(encoder, "images-latents").images, 11);
  EXPECT_EQ(encode(encoder, "images/../latents").images, 11);
}

TEST_F(EncodeTest, SizeTheEncoderCannotTakeIsRefusedBeforeAnythingIsWritten) {
  settings_.image_size = 5;
  FakeEncoder encoder;
  expect_error([&] { encode(encoder); }, ErrorKind::kBadInput, "even");
  EXPECT_FALSE(fs::exists(dir_.file("cache")));
}

}  // namespace
}  // namespace ditmoe::pipeline
