#include "ditmoe/data/latent_cache.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <limits>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "ditmoe/base/json.h"
#include "ditmoe/formats/file.h"
#include "ditmoe/formats/safetensors.h"

#include "latent_cache_support.h"

namespace ditmoe::data {
namespace {

namespace fs = std::filesystem;
using base::ErrorKind;
using formats::test::bytes_of;
using formats::test::expect_error;

// Refuses what is changed in a cache.
class DamagedCacheTest : public LatentCacheTest {
 protected:
  // Changes one text in index.json and expects the reader to refuse it.
  void expect_refused(const std::string& from,
                      const std::string& to,
                      const std::string& message) const {
    const std::string good = bytes_of(dir_.file("cache/index.json"));
    const size_t at = good.find(from);
    ASSERT_NE(at, std::string::npos) << from;
    std::string bad = good;
    dir_.put("cache/index.json", bad.replace(at, from.size(), to));
    expect_error([&] { LatentDataset::open(dir_.file("cache")); }, ErrorKind::kBadInput, message);
    dir_.put("cache/index.json", good);
  }
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

TEST(LatentShardTest, ThereAre512AtMostWhereTheyAreSmall) {
  LatentSettings settings;
  settings.channels = 4;
  settings.height = settings.width = 32;  // 16 KiB: 256 pixels, mean and log-variance in f16
  const auto images_for = [&](int64_t num_images) {
    settings.num_images = num_images;
    return default_images_per_shard(settings);
  };
  EXPECT_EQ(images_for(0), 1024);
  EXPECT_EQ(images_for(1), 1024);
  EXPECT_EQ(images_for(512 * 1024), 1024);
  EXPECT_EQ(images_for(512 * 1024 + 1), 2048);
  EXPECT_EQ(images_for(1281167), 3072);  // ImageNet: 418
}

TEST(LatentShardTest, TheyFitInMemory) {
  LatentSettings settings;
  settings.channels = 4;
  settings.height = settings.width = 64;
  settings.flip = true;
  settings.num_images = 1281167;
  EXPECT_EQ(settings.bytes_per_image(), 128 << 10);
  EXPECT_EQ(default_images_per_shard(settings), 2048);
  settings.height = settings.width = 1024;  // 32 MiB
  settings.num_images = 10'000;
  EXPECT_EQ(default_images_per_shard(settings), 8);
  settings.height = settings.width = 8192;  // 2 GiB
  settings.num_images = 4096;
  EXPECT_EQ(default_images_per_shard(settings), 1);
  settings.num_images = 4097;  // more than an index holds
  EXPECT_EQ(default_images_per_shard(settings), 2);
}

TEST_F(LatentCacheTest, ValuesThatCannotBeStoredAreAFailureThatNamesTheImage) {
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
          writer.add("a/cat.png", 0, {good, good}, {good, values});
        },
        ErrorKind::kFailure,
        fmt::format("image \"a/cat.png\": expected finite values that f16 can hold from the "
                    "autoencoder, found {}",
                    bad));
  }
}

TEST_F(DamagedCacheTest, IndexIsRefused) {
  write(small_settings());
  expect_refused("{", "", "malformed JSON");
  expect_refused("ditmoe latents 2", "ditmoe latents 1", "format");
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
  expect_refused("\"count\": 2,\n   \"bytes\"",
                 "\"count\": 3,\n   \"bytes\"",
                 "corrupt: expected the 0 images that the shards lack, found 1");
  expect_refused("\"classes\": [", "\"classes\": [7,", "classes: expected text");
  expect_refused("\"classes\": [", "\"classes\": 7, \"more\": [", "classes: expected a list");
  expect_refused("\"corrupt\": 1", "\"corrupt\": []", "corrupt: expected a whole number");
}

TEST_F(DamagedCacheTest, ShardsThatDoNotFitTheIndexAreRefused) {
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
  fs::remove(shard);
  expect_error([&] { LatentDataset::open(dir_.file("cache")); }, ErrorKind::kBadInput, shard);
}

TEST_F(LatentCacheTest, NamesThatAreNotUtf8CanBeListed) {
  LatentSettings settings = small_settings();
  settings.num_images = 1;
  {
    LatentWriter writer(dir_.file("cache"), settings, kClasses);
    writer.add_corrupt({"\xFF\n.png", "damaged"});
  }
  EXPECT_EQ(read_latent_index(dir_.file("cache"))->corrupt(), 1);
  const std::string list = bytes_of(corrupt_list_path(dir_.file("cache")));
  const base::Json image = base::parse_json(list, "corrupt.jsonl");
  EXPECT_EQ(image.at("image"), "\uFFFD\n.png");
  EXPECT_EQ(image.at("reason"), "damaged");
  EXPECT_EQ(std::ranges::count(list, '\n'), 1);
}

TEST_F(LatentCacheTest, WithoutImagesIsRefused) {
  LatentSettings settings = small_settings();
  settings.num_images = 1;
  {
    LatentWriter writer(dir_.file("cache"), settings, kClasses);
    writer.add_corrupt({"a.png", "damaged"});
  }
  expect_error([&] { LatentDataset::open(dir_.file("cache")); },
               ErrorKind::kBadInput,
               "all 1 images were corrupt",
               dir_.file("cache"));
}

using LatentDatasetDeathTest = LatentCacheTest;

TEST_F(LatentDatasetDeathTest, LabelBeyondTheEndIsABug) {
  write(small_settings());
  const auto dataset = LatentDataset::open(dir_.file("cache"));
  EXPECT_EQ(dataset->label(11), 1);
  EXPECT_DEATH(dataset->label(12), "assertion failed");
  EXPECT_DEATH(dataset->label(-1), "assertion failed");
}

// A file that shrinks reads as zeros, which are latents as good as any.
TEST_F(LatentCacheTest, ShardThatShrinksIsNoticed) {
  for (const bool moments : {true, false}) {
    LatentSettings settings = small_settings();
    settings.moments = moments;
    const std::string name = moments ? "moments" : "samples";
    write(settings, name);
    const std::string shard = dir_.file(name + "/latents-00001.safetensors");
    const auto dataset = LatentDataset::open(dir_.file(name));
    std::vector<float> out(kElements);
    dataset->read(4, out);
    fs::resize_file(shard, fs::file_size(shard) - 1);
    expect_error([&] { dataset->read(4, out); }, ErrorKind::kBadInput, "became shorter", shard);
    fs::resize_file(shard, 0);
    expect_error([&] { dataset->read(4, out); }, ErrorKind::kBadInput, "became shorter", shard);
    dataset->read(0, out);
  }
}

// An index of all of them would be more than is ever read of one.
TEST_F(LatentCacheTest, AnyNumberOfCorruptImagesCanBeListed) {
  constexpr int64_t kCorrupt = 60'000;
  LatentSettings settings = small_settings();
  settings.num_images = kCorrupt + 1;
  settings.images_per_shard = 20'000;
  const std::vector<float> good = values(0, 0);
  {
    LatentWriter writer(dir_.file("cache"), settings, kClasses);
    for (int64_t i = 0; i < kCorrupt; ++i) {
      writer.add_corrupt({fmt::format("a/{:0100}.png", i), "expected a PNG, found an empty file"});
    }
    writer.add("b/good.png", 1, {good, good}, {good, good});
  }
  EXPECT_EQ(LatentDataset::open(dir_.file("cache"))->size(), 2);
  const LatentWriter again(dir_.file("cache"), settings, kClasses);
  EXPECT_EQ(again.next(), kCorrupt + 1);
  EXPECT_EQ(again.index().corrupt(), kCorrupt);
  EXPECT_EQ(corrupt_list_length(dir_.file("cache")), kCorrupt);
}

TEST_F(LatentCacheTest, IndexThatCouldNotBeReadIsRefusedBeforeItIsWritten) {
  const std::string folder = dir_.file("cache");
  const std::vector<std::string> many(300'000, "class");
  expect_error([&] { LatentWriter(folder, small_settings(), many); },
               ErrorKind::kBadInput,
               "an index of 300000 classes and 3 shards could not be read again",
               folder);
  const std::vector<std::string> long_ones(70'000, std::string(250, 'x'));
  expect_error([&] { LatentWriter(folder, small_settings(), long_ones); },
               ErrorKind::kBadInput,
               "could not be read again",
               folder);
  LatentSettings settings = small_settings();
  settings.num_images = 3 * 4096 + 1;
  expect_error([&] { LatentWriter(folder, settings, kClasses); },
               ErrorKind::kBadInput,
               "expected at most 4096 shards, found 4097",
               folder);
  EXPECT_FALSE(fs::exists(folder));
  settings.num_images = 3 * 4096;
  LatentWriter(folder, settings, std::vector<std::string>(100'000, "class"));
  EXPECT_TRUE(read_latent_index(folder).has_value());
}

}  // namespace
}  // namespace ditmoe::data
