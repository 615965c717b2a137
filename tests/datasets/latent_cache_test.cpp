#include "ditmoe/data/latent_cache.h"

#include <cmath>
#include <filesystem>
#include <limits>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "ditmoe/base/json.h"
#include "ditmoe/data/latent_dataset.h"
#include "ditmoe/data/latent_writer.h"
#include "ditmoe/formats/file.h"
#include "ditmoe/formats/safetensors.h"

#include "tests/formats/temp_dir.h"
#include "tests/support/arrays.h"

namespace ditmoe::data {
namespace {

namespace fs = std::filesystem;
using base::ErrorKind;
using formats::test::bytes_of;
using formats::test::expect_error;
using formats::test::TempDir;

constexpr int64_t kElements = 2 * 3 * 4;

LatentSettings small_settings() {
  LatentSettings settings;
  settings.images = "0123456789abcdef";
  settings.num_images = 7;
  settings.autoencoder = "vae";
  settings.precision = "f32";
  settings.image_size = 32;
  settings.channels = 2;
  settings.height = 3;
  settings.width = 4;
  settings.flip = true;
  settings.shift = 0.5;
  settings.dtype = base::DType::kF32;
  settings.images_per_shard = 3;
  return settings;
}

// Means of image i, distinct for the mirror image and for log-variances.
std::vector<float> values(int64_t image, uint64_t which) {
  return tests::normal_values(kElements, 10 * static_cast<uint64_t>(image) + which);
}

class LatentCacheTest : public ::testing::Test {
 protected:
  // Adds images until `last`; image 4 is corrupt.
  static void add(LatentWriter& writer, int64_t last) {
    while (writer.next() < last) {
      const int64_t i = writer.next();
      if (i == 4) {
        writer.add_corrupt("b/4.jpg", "b/4.jpg: damaged");
        continue;
      }
      const std::vector<float> all[] = {values(i, 0), values(i, 1), values(i, 2), values(i, 3)};
      writer.add(i < 3 ? 0 : 1, {all[0], all[1]}, {all[2], all[3]});
    }
  }

  void write(const LatentSettings& settings, const std::string& name = "cache") const {
    LatentWriter writer(dir_.file(name), settings, kClasses);
    add(writer, settings.num_images);
  }

  std::string index() const { return dir_.file("cache/index.json"); }

  // Changes one text in index.json and expects the reader to refuse it.
  void expect_refused(const std::string& from,
                      const std::string& to,
                      const std::string& message) const {
    const std::string good = bytes_of(index());
    const size_t at = good.find(from);
    ASSERT_NE(at, std::string::npos) << from;
    std::string bad = good;
    dir_.put("cache/index.json", bad.replace(at, from.size(), to));
    expect_error([&] { LatentDataset::open(dir_.file("cache")); }, ErrorKind::kBadInput, message);
    dir_.put("cache/index.json", good);
  }

  const std::vector<std::string> kClasses = {"a", "b"};
  TempDir dir_;
};

TEST_F(LatentCacheTest, DatasetReturnsWhatWasWritten) {
  const LatentSettings settings = small_settings();
  write(settings);
  const auto dataset = LatentDataset::open(dir_.file("cache"), 5);
  ASSERT_EQ(dataset->size(), 12);
  EXPECT_EQ(dataset->class_names(), kClasses);
  EXPECT_EQ(dataset->image_elements(), kElements);
  const int64_t images[] = {0, 1, 2, 3, 5, 6};
  std::vector<float> found(kElements);
  std::vector<float> noise(kElements);
  for (int64_t item = 0; item < 12; ++item) {
    const bool flipped = item >= 6;
    const int64_t image = images[item % 6];
    EXPECT_EQ(dataset->label(item), image < 3 ? 0 : 1);
    const std::vector<float> mean = values(image, flipped ? 2 : 0);
    const std::vector<float> logvar = values(image, flipped ? 3 : 1);
    for (const uint64_t draw : {0, 3}) {
      dataset->draw(item, draw, found);
      base::fill_normal(noise, latent_key(5, draw, image, flipped));
      for (size_t i = 0; i < kElements; ++i) {
        const double expected = mean[i] + std::exp(0.5 * logvar[i]) * noise[i];
        EXPECT_NEAR(found[i], 0.18215 * (expected - 0.5), 1e-6 * (1 + std::abs(expected)));
      }
    }
  }
  std::vector<float> again(kElements);
  dataset->draw(2, 0, found);
  dataset->read(2, again);
  EXPECT_EQ(found, again);
  dataset->draw(2, 1, again);
  EXPECT_NE(found, again);
  dataset->verify();
}

TEST_F(LatentCacheTest, SamplesAreThoseThatMomentsGive) {
  LatentSettings settings = small_settings();
  settings.seed = 9;
  write(settings, "moments");
  settings.moments = false;
  write(settings, "samples");
  const auto moments = LatentDataset::open(dir_.file("moments"), 9);
  const auto samples = LatentDataset::open(dir_.file("samples"), 1);
  std::vector<float> left(kElements);
  std::vector<float> right(kElements);
  for (int64_t item = 0; item < moments->size(); ++item) {
    moments->read(item, left);
    samples->read(item, right);
    EXPECT_EQ(left, right);
    samples->draw(item, 7, left);
    EXPECT_EQ(left, right);
  }
}

TEST_F(LatentCacheTest, HalvesAreRounded) {
  LatentSettings settings = small_settings();
  settings.dtype = base::DType::kF16;
  settings.flip = false;
  write(settings);
  const auto file = formats::SafetensorsFile::open(dir_.file("cache/latents-00001.safetensors"));
  EXPECT_EQ(file.entry("mean").dtype, base::DType::kF16);
  EXPECT_EQ(file.entry("mean").shape, base::Shape({2, 2, 3, 4}));
  EXPECT_FALSE(file.contains("mean_flip"));
  const base::Tensor logvar = base::convert(file.view("logvar"), base::DType::kF32);
  EXPECT_TRUE(tests::close(logvar.as<float>().first(kElements), values(3, 1), 1e-3));
  EXPECT_EQ(LatentDataset::open(dir_.file("cache"))->size(), 6);
}

TEST_F(LatentCacheTest, InterruptedRunGoesOnAfterTheLastWholeShard) {
  write(small_settings(), "whole");
  {
    LatentWriter writer(dir_.file("cache"), small_settings(), kClasses);
    add(writer, 5);  // one shard and two images of the next
  }
  dir_.put("cache/latents-00001.safetensors.tmp.1.0", "left by a killed process");
  expect_error([&] { LatentDataset::open(dir_.file("cache")); },
               ErrorKind::kBadInput,
               "3 of 7 images are encoded");
  LatentWriter writer(dir_.file("cache"), small_settings(), kClasses);
  EXPECT_EQ(writer.next(), 3);
  EXPECT_EQ(writer.shard_end(), 6);
  add(writer, 7);
  for (const char* name : {"index.json",
                           "latents-00000.safetensors",
                           "latents-00001.safetensors",
                           "latents-00002.safetensors"}) {
    EXPECT_EQ(bytes_of(dir_.file(std::string("cache/") + name)),
              bytes_of(dir_.file(std::string("whole/") + name)));
  }
  EXPECT_FALSE(fs::exists(dir_.file("cache/latents-00001.safetensors.tmp.1.0")));
}

TEST_F(LatentCacheTest, FinishedCacheHasNothingLeftToDo) {
  write(small_settings());
  const LatentWriter writer(dir_.file("cache"), small_settings(), kClasses);
  EXPECT_EQ(writer.next(), 7);
  EXPECT_TRUE(writer.index().complete());
  EXPECT_EQ(writer.index().count(), 6);
  ASSERT_EQ(writer.index().corrupt.size(), 1U);
  EXPECT_EQ(writer.index().corrupt[0].name, "b/4.jpg");
  EXPECT_EQ(writer.index().corrupt[0].reason, "b/4.jpg: damaged");
}

TEST_F(LatentCacheTest, OtherSettingsAreRefused) {
  write(small_settings());
  const auto expect_other = [&](auto change, const std::string& message) {
    LatentSettings settings = small_settings();
    change(settings);
    expect_error([&] { LatentWriter(dir_.file("cache"), settings, kClasses); },
                 ErrorKind::kBadInput,
                 message);
  };
  expect_other([](LatentSettings& s) { s.image_size = 64; }, "image_size 32, not 64");
  expect_other([](LatentSettings& s) { s.flip = false; }, "flip true, not false");
  expect_other([](LatentSettings& s) { s.dtype = base::DType::kF16; }, "\"F32\", not \"F16\"");
  expect_other([](LatentSettings& s) { s.moments = false; }, "moments true");
  expect_other([](LatentSettings& s) { s.autoencoder = "other"; }, "\"vae\", not \"other\"");
  expect_other([](LatentSettings& s) { s.precision = "bf16"; }, "precision");
  expect_other([](LatentSettings& s) { s.images = "ffff"; }, "images");
  expect_other([](LatentSettings& s) { s.num_images = 8; }, "num_images 7, not 8");
  expect_other([](LatentSettings& s) { s.seed = 1; }, "seed 0, not 1");
  expect_other([](LatentSettings& s) { s.scale = 1; }, "scale 0.18215, not 1");
  expect_error(
      [&] {
        LatentWriter(dir_.file("cache"), small_settings(), {"a", "c"});
      },
      ErrorKind::kBadInput,
      "other classes");
}

TEST_F(LatentCacheTest, ForeignFolderAndSecondProcessAreRefused) {
  fs::create_directory(dir_.file("full"));
  dir_.put("full/thesis.tex", "x");
  expect_error([&] { LatentWriter(dir_.file("full"), small_settings(), kClasses); },
               ErrorKind::kBadInput,
               "found \"thesis.tex\"");
  const LatentWriter writer(dir_.file("cache"), small_settings(), kClasses);
  expect_error([&] { LatentWriter(dir_.file("cache"), small_settings(), kClasses); },
               ErrorKind::kBadInput,
               "in use");
  dir_.put("file", "x");
  expect_error([&] { LatentWriter(dir_.file("file"), small_settings(), kClasses); },
               ErrorKind::kBadInput,
               "file");
}

TEST_F(LatentCacheTest, MoreThanTheDiskHoldsIsRefused) {
  LatentSettings settings = small_settings();
  settings.num_images = int64_t{1} << 31;
  settings.channels = settings.height = settings.width = 1 << 10;
  expect_error([&] { LatentWriter(dir_.file("cache"), settings, kClasses); },
               ErrorKind::kBadInput,
               "GB free");
}

TEST(LatentShardTest, ThereAreAtMost512) {
  EXPECT_EQ(default_images_per_shard(0), 1024);
  EXPECT_EQ(default_images_per_shard(1), 1024);
  EXPECT_EQ(default_images_per_shard(512 * 1024), 1024);
  EXPECT_EQ(default_images_per_shard(512 * 1024 + 1), 2048);
  EXPECT_EQ(default_images_per_shard(1281167), 3072);  // ImageNet: 418
}

TEST_F(LatentCacheTest, ValuesThatCannotBeStoredAreAFailure) {
  LatentSettings settings = small_settings();
  settings.dtype = base::DType::kF16;
  const std::vector<float> good = values(0, 0);
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(),
                          std::numeric_limits<float>::infinity(),
                          70000.0F}) {
    LatentWriter writer(dir_.file(fmt::format("{}", bad)), settings, kClasses);
    std::vector<float> values = good;
    values.back() = bad;
    expect_error(
        [&] {
          writer.add(0, {good, good}, {good, values});
        },
        ErrorKind::kFailure,
        "image 0");
  }
}

TEST_F(LatentCacheTest, DamagedIndexIsRefused) {
  write(small_settings());
  expect_refused("{", "", "malformed JSON");
  expect_refused("ditmoe latents 1", "ditmoe latents 2", "format");
  expect_refused("\"settings\"", "\"setting\"", "expected a key settings");
  expect_refused("\"height\": 3", "\"height\": -3", "height: expected a whole number");
  expect_refused("\"height\": 3", "\"height\": 3.0", "height: expected a whole number");
  expect_refused("\"height\": 3", "\"height\": 0", "height: expected 1 to");
  expect_refused("\"height\": 3", "\"height\": 2147483648", "height: expected 1 to");
  expect_refused("\"height\": 3", "\"height\": \"3\"", "height: expected a whole number");
  expect_refused("\"num_images\": 7", "\"num_images\": 18446744073709551615", "num_images");
  expect_refused("\"num_images\": 7", "\"num_images\": 8", "expected images 6 to 8");
  expect_refused("\"num_images\": 7", "\"num_images\": 6", "expected images 6 to 6");
  expect_refused("\"dtype\": \"F32\"", "\"dtype\": \"I64\"", "expected F16 or F32");
  expect_refused("\"flip\": true", "\"flip\": 1", "expected true or false");
  expect_refused("\"scale\": 0.18215", "\"scale\": null", "expected a number");
  expect_refused("\"images_per_shard\": 3", "\"images_per_shard\": 0", "expected 1 or more");
  expect_refused(
      "\"images_per_shard\": 3", "\"images_per_shard\": 4", "shards: 0: expected images");
  expect_refused(
      "\"count\": 2,\n   \"bytes\"", "\"count\": 4,\n   \"bytes\"", "count: expected at most 3");
  expect_refused(
      "\"count\": 2,\n   \"bytes\"", "\"count\": 3,\n   \"bytes\"", "corrupt: expected the 0");
  expect_refused("\"classes\": [", "\"classes\": [7,", "classes: expected text");
  expect_refused("\"classes\": [", "\"classes\": 7, \"more\": [", "classes: expected a list");
  expect_refused("\"image\": ", "\"picture\": ", "expected a key image");
}

TEST_F(LatentCacheTest, ShardsThatDoNotFitTheIndexAreRefused) {
  write(small_settings());
  expect_refused("\"channels\": 2", "\"channels\": 3", "tensor mean: expected F32 [3, 3, 3, 4]");
  expect_refused("\"moments\": true", "\"moments\": false", "expected a tensor \"sample\"");
  expect_refused("\"classes\": [", "\"classes\": [], \"old\": [", "label 0: expected one below 1");
  expect_error([&] { LatentDataset::open(dir_.file("absent")); },
               ErrorKind::kBadInput,
               "found no index.json");
  const std::string shard = dir_.file("cache/latents-00002.safetensors");
  std::string bytes = bytes_of(shard);
  bytes.back() = static_cast<char>(bytes.back() ^ 1);
  formats::write_text(shard, bytes);
  expect_error([&] { LatentDataset::open(dir_.file("cache"))->verify(); },
               ErrorKind::kBadInput,
               "latents-00002.safetensors: expected");
  formats::write_text(shard, bytes.substr(0, bytes.size() - 1));
  expect_error([&] { LatentDataset::open(dir_.file("cache")); }, ErrorKind::kBadInput, shard);
  expect_error([&] { LatentWriter(dir_.file("cache"), small_settings(), kClasses); },
               ErrorKind::kBadInput,
               "that index.json tells");
  fs::remove(shard);
  expect_error([&] { LatentDataset::open(dir_.file("cache")); }, ErrorKind::kBadInput, shard);
}

TEST_F(LatentCacheTest, NamesThatAreNotUtf8CanBeListed) {
  LatentSettings settings = small_settings();
  settings.num_images = 1;
  {
    LatentWriter writer(dir_.file("cache"), settings, kClasses);
    writer.add_corrupt("\xFF.png", "\xFF.png: damaged");
  }
  EXPECT_EQ(read_latent_index(dir_.file("cache"))->corrupt.size(), 1U);
  const auto dataset = LatentDataset::open(dir_.file("cache"));
  EXPECT_EQ(dataset->size(), 0);
}

}  // namespace
}  // namespace ditmoe::data
