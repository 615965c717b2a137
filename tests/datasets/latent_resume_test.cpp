// What LatentWriter makes of a folder that is not empty.

#include <filesystem>

#include <gtest/gtest.h>

#include "ditmoe/formats/file.h"

#include "latent_cache_support.h"

namespace ditmoe::data {
namespace {

namespace fs = std::filesystem;
using base::ErrorKind;
using formats::test::bytes_of;
using formats::test::expect_error;

class LatentResumeTest : public LatentCacheTest {
 protected:
  // The cache has what one has that was written in one go, and nothing else.
  void expect_same_as_whole() const {
    write(small_settings(), "whole");
    int count = 0;
    for (const auto& entry : fs::directory_iterator(dir_.file("cache"))) {
      const std::string name = entry.path().filename().string();
      EXPECT_EQ(bytes_of(entry.path().string()), bytes_of(dir_.file("whole/" + name))) << name;
      ++count;
    }
    EXPECT_EQ(count, 5);
  }

  // A writer of the damaged cache goes on with image `next`, and mends it.
  void expect_mended_from(int64_t next) const {
    {
      LatentWriter writer(dir_.file("cache"), small_settings(), kClasses);
      EXPECT_EQ(writer.next(), next);
      EXPECT_EQ(read_latent_index(dir_.file("cache"))->done(), next);
      add(writer, 7);
    }
    expect_same_as_whole();
  }
};

TEST_F(LatentResumeTest, InterruptedRunGoesOnAfterTheLastWholeShard) {
  {
    LatentWriter writer(dir_.file("cache"), small_settings(), kClasses);
    add(writer, 5);  // one shard and two images of the next
  }
  expect_error([&] { LatentDataset::open(dir_.file("cache")); },
               ErrorKind::kBadInput,
               "3 of 7 images are encoded");
  LatentWriter writer(dir_.file("cache"), small_settings(), kClasses);
  EXPECT_EQ(writer.next(), 3);
  EXPECT_EQ(writer.shard_end(), 6);
  add(writer, 7);
  expect_same_as_whole();
}

TEST_F(LatentResumeTest, LinesOfShardsThatWereNotFinishedAreTakenOffTheList) {
  {
    LatentWriter writer(dir_.file("cache"), small_settings(), kClasses);
    add(writer, 3);
  }
  const std::string list = corrupt_list_path(dir_.file("cache"));
  EXPECT_FALSE(fs::exists(list));
  formats::write_text(list, "{\"image\":\"b/4.jpg\",\"reason\":\"damaged\"}\n{\"image\":\"b/");
  LatentWriter writer(dir_.file("cache"), small_settings(), kClasses);
  EXPECT_EQ(bytes_of(list), "");
  add(writer, 7);
  expect_same_as_whole();
}

TEST_F(LatentResumeTest, LineThatWasWrittenInPartIsTakenOffTheList) {
  {
    LatentWriter writer(dir_.file("cache"), small_settings(), kClasses);
    add(writer, 6);
  }
  const std::string list = corrupt_list_path(dir_.file("cache"));
  formats::write_text(list, bytes_of(list) + "{\"image\":\"b/");
  LatentWriter writer(dir_.file("cache"), small_settings(), kClasses);
  add(writer, 7);
  expect_same_as_whole();
}

TEST_F(LatentResumeTest, FinishedCacheHasNothingLeftToDo) {
  write(small_settings());
  const LatentWriter writer(dir_.file("cache"), small_settings(), kClasses);
  EXPECT_EQ(writer.next(), 7);
  EXPECT_TRUE(writer.index().complete());
  EXPECT_EQ(writer.index().count(), 6);
  EXPECT_EQ(writer.index().corrupt(), 1);
  EXPECT_EQ(bytes_of(corrupt_list_path(dir_.file("cache"))),
            "{\"image\":\"b/4.jpg\",\"reason\":\"damaged\"}\n");
}

TEST_F(LatentResumeTest, ShardsFromTheFirstDamagedOneOnAreWrittenAgain) {
  const std::string shard = dir_.file("cache/latents-00001.safetensors");
  write(small_settings());
  std::string bytes = bytes_of(shard);
  bytes[bytes.size() / 2] = static_cast<char>(bytes[bytes.size() / 2] ^ 1);
  formats::write_text(shard, bytes);
  expect_mended_from(3);
  fs::resize_file(shard, fs::file_size(shard) - 1);
  expect_mended_from(3);
  fs::remove(shard);
  expect_mended_from(3);
  fs::remove(dir_.file("cache/latents-00002.safetensors"));
  expect_mended_from(6);
  fs::remove(dir_.file("cache/latents-00000.safetensors"));
  expect_mended_from(0);
}

TEST_F(LatentResumeTest, ShardsWhoseCorruptImagesAreNotListedAreWrittenAgain) {
  write(small_settings());
  const std::string list = corrupt_list_path(dir_.file("cache"));
  formats::write_text(list, "{\"image\":");
  expect_mended_from(3);
  fs::remove(list);
  expect_mended_from(3);
}

TEST_F(LatentResumeTest, OtherSettingsAreRefused) {
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
  expect_other([](LatentSettings& s) { s.images = "ffff"; }, "other images, by name");
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

TEST_F(LatentResumeTest, ForeignFolderAndSecondProcessAreRefused) {
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

TEST_F(LatentResumeTest, TemporaryFilesOfAKilledProcessAreRemoved) {
  const std::vector<std::string> names = {"latents-00001.safetensors.tmp.4711.0",
                                          "latents-123456.safetensors.tmp.1.12",
                                          "index.json.tmp.1.0"};
  // Killed as it wrote its first index, or later.
  for (const bool begun : {false, true}) {
    if (!begun) fs::create_directory(dir_.file("cache"));
    for (const std::string& name : names) dir_.put("cache/" + name, "x");
    const LatentWriter writer(dir_.file("cache"), small_settings(), kClasses);
    for (const std::string& name : names) EXPECT_FALSE(fs::exists(dir_.file("cache/" + name)));
  }
}

TEST_F(LatentResumeTest, FilesOfOthersAreLetBe) {
  const std::vector<std::string> names = {"index.json.tmp.mine",
                                          "index.json.tmp.1.0.bak",
                                          "index.json.tmp.1",
                                          "index.json.tmp..1",
                                          "index.json.bak.tmp.1.0",
                                          "latents-notes.tmp.txt",
                                          "latents-.safetensors.tmp.1.0",
                                          "latents-1.safetensors.tmp.1.0",
                                          "latents-0000x.safetensors.tmp.1.0",
                                          "other.safetensors.tmp.1.0"};
  for (const std::string& name : names) {
    fs::create_directory(dir_.file("full"));
    dir_.put("full/" + name, "x");
    expect_error([&] { LatentWriter(dir_.file("full"), small_settings(), kClasses); },
                 ErrorKind::kBadInput,
                 "found \"" + name);
    EXPECT_TRUE(fs::exists(dir_.file("full/" + name)));
    fs::remove_all(dir_.file("full"));
  }
  write(small_settings());
  for (const std::string& name : names) dir_.put("cache/" + name, "x");
  const LatentWriter writer(dir_.file("cache"), small_settings(), kClasses);
  for (const std::string& name : names) EXPECT_TRUE(fs::exists(dir_.file("cache/" + name))) << name;
}

// Not even a leftover is removed of a cache that is not gone on with.
TEST_F(LatentResumeTest, RefusalsChangeNothing) {
  write(small_settings());
  dir_.put("cache/index.json.tmp.1.0", "x");
  fs::remove(dir_.file("cache/latents-00001.safetensors"));
  const std::string index = bytes_of(dir_.file("cache/index.json"));
  LatentSettings settings = small_settings();
  settings.seed = 1;
  expect_error(
      [&] { LatentWriter(dir_.file("cache"), settings, kClasses); }, ErrorKind::kBadInput, "seed");
  EXPECT_TRUE(fs::exists(dir_.file("cache/index.json.tmp.1.0")));
  EXPECT_EQ(bytes_of(dir_.file("cache/index.json")), index);
}

TEST_F(LatentResumeTest, MoreThanTheDiskHoldsIsRefused) {
  LatentSettings settings = small_settings();
  settings.num_images = int64_t{1} << 31;
  settings.images_per_shard = 1 << 20;
  settings.channels = settings.height = settings.width = 1 << 10;
  expect_error([&] { LatentWriter(dir_.file("cache"), settings, kClasses); },
               ErrorKind::kBadInput,
               "GB free");
}

}  // namespace
}  // namespace ditmoe::data
