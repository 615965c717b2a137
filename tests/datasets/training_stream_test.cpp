#include "ditmoe/data/training_stream.h"

#include <algorithm>
#include <filesystem>
#include <gmock/gmock.h>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "ditmoe/base/philox.h"
#include "ditmoe/data/array_dataset.h"
#include "ditmoe/data/image_folder_dataset.h"
#include "ditmoe/data/prefetcher.h"
#include "ditmoe/data/random_streams.h"

#include "image_files.h"
#include "latent_cache_support.h"

namespace ditmoe::data {
namespace {

using base::ErrorKind;
using formats::test::expect_error;

// `size` images of 1x2 pixels: the number of the image and `tag`; as many labels, modulo classes.
std::shared_ptr<const Dataset> toy(int64_t size, uint8_t tag = 0, int64_t num_classes = 4) {
  LabelledImages contents;
  contents.images_NHWC = base::Tensor(base::DType::kU8, {size, 1, 2, 1});
  for (int64_t i = 0; i < size; ++i) {
    contents.images_NHWC.as<uint8_t>()[static_cast<size_t>(2 * i)] = static_cast<uint8_t>(i);
    contents.images_NHWC.as<uint8_t>()[static_cast<size_t>(2 * i + 1)] = tag;
    contents.labels.push_back(static_cast<int32_t>(i % num_classes));
  }
  std::vector<std::string> names;
  for (int64_t i = 0; i < num_classes; ++i) names.push_back(std::to_string(i));
  return make_array_dataset(std::move(contents), std::move(names), 1);
}

// Everything about a sample, to compare.
struct Read {
  int64_t part;
  int64_t index;
  int32_t label;
  bool mirrored;
  uint64_t draw;
  std::vector<float> pixels;

  bool operator==(const Read&) const = default;
};

Read read_at(const TrainingStream& stream, int64_t position) {
  std::vector<float> pixels(static_cast<size_t>(stream.image_elements()));
  const Sample sample = stream.read(position, pixels);
  return {sample.part,
          sample.index,
          sample.label,
          sample.variant.mirrored,
          sample.variant.draw,
          std::move(pixels)};
}

class TrainingStreamTest : public LatentCacheTest {
 protected:
  // Two caches of the same six images, moments and samples.
  TrainingStream latents() const {
    if (!std::filesystem::exists(dir_.file("one"))) {
      LatentSettings settings = small_settings();
      write(settings, "one");
      settings.moments = false;
      write(settings, "two");
    }
    const std::vector<DataSettings> parts = {
        {.kind = "latents", .folder = dir_.file("one"), .weight = 0.3, .flip = true},
        {.kind = "latents", .folder = dir_.file("two"), .limit = 4, .weight = 0.7}};
    return open_training_stream(parts, 11, [](size_t, const std::string& key) { return key; });
  }

  // Images 0 to 11 of two classes, some of which are corrupt.
  std::vector<StreamPart> folder(const std::vector<int>& corrupt) const {
    for (int i = 0; i < 12; ++i) {
      const std::string name = fmt::format("images/{}/{:02}.png", i / 6, i);
      test::put_png(dir_, name, 4, static_cast<uint8_t>(i));
      if (std::ranges::count(corrupt, i) > 0) dir_.put(name, "");
    }
    return {{ImageFolderDataset::open(dir_.file("images"), 4, 3), "images", 1, false, 0}};
  }
};

TEST_F(TrainingStreamTest, OnePartComesInTheOrderOfToday) {
  const TrainingStream stream({{toy(23), "toy", 3.5, false, 0}}, 6);
  const SampleOrder order(23, 6);
  for (int64_t p = 0; p < 100; ++p) {
    const Sample sample = stream.at(p);
    EXPECT_EQ(sample.part, 0);
    EXPECT_EQ(sample.index, order.at(p));
    EXPECT_EQ(sample.label, sample.index % 4);
    EXPECT_FALSE(sample.variant.mirrored);
    EXPECT_EQ(sample.variant.draw, static_cast<uint64_t>(p / 23));
  }
  const TrainingStream limited({{toy(23), "toy", 1, false, 9}}, 6);
  EXPECT_EQ(limited.size(0), 9);
  const SampleOrder shorter(9, 6);
  for (int64_t p = 0; p < 30; ++p) EXPECT_EQ(limited.at(p).index, shorter.at(p));
}

TEST_F(TrainingStreamTest, PartsOfAMixtureGoThroughTheirImagesEpochByEpoch) {
  const std::vector<int64_t> sizes = {7, 12, 30};
  const TrainingStream stream({{toy(7, 1), "a", 0.1, false, 0},
                               {toy(12, 2), "b", 0.2, true, 0},
                               {toy(40, 3), "c", 0.7, false, 30}},
                              2);
  std::vector<std::vector<int64_t>> seen(3);
  for (int64_t p = 0; p < 1000; ++p) {
    const Read read = read_at(stream, p);
    const auto part = static_cast<size_t>(read.part);
    const auto size = static_cast<size_t>(sizes[part]);
    ASSERT_EQ(read.draw, seen[part].size() / size);
    const size_t tag = read.mirrored ? 0 : 1;
    EXPECT_FLOAT_EQ(read.pixels[tag], static_cast<float>(part + 1) / 127.5F - 1);
    EXPECT_FLOAT_EQ(read.pixels[1 - tag], static_cast<float>(read.index) / 127.5F - 1);
    EXPECT_EQ(read.label, read.index % 4);
    seen[part].push_back(read.index);
  }
  for (size_t part = 0; part < 3; ++part) {
    EXPECT_EQ(seen[part].size(), std::vector<size_t>({100, 200, 700})[part]);
    const auto size = static_cast<std::ptrdiff_t>(sizes[part]);
    for (auto epoch = seen[part].begin(); seen[part].end() - epoch >= size; epoch += size) {
      std::vector<int64_t> items(epoch, epoch + size);
      std::ranges::sort(items);
      for (std::ptrdiff_t i = 0; i < size; ++i) ASSERT_EQ(items[static_cast<size_t>(i)], i);
    }
  }
}

TEST_F(TrainingStreamTest, PartsOfOneSizeHaveOrdersOfTheirOwn) {
  const TrainingStream stream({{toy(50), "a", 1, false, 0}, {toy(50), "b", 1, false, 0}}, 2);
  int same = 0;
  for (int64_t p = 0; p < 100; p += 2) {
    ASSERT_NE(stream.at(p).part, stream.at(p + 1).part);
    same += stream.at(p).index == stream.at(p + 1).index ? 1 : 0;
  }
  EXPECT_LT(same, 10);
  EXPECT_EQ(part_seed(2, 0), 2U);
  EXPECT_NE(part_seed(2, 1), part_seed(2, 2));
  EXPECT_NE(part_seed(2, 1), part_seed(3, 1));
}

TEST_F(TrainingStreamTest, AnyPositionCanBeHadWithoutTheOnesBefore) {
  const TrainingStream forwards = latents();
  std::vector<Read> expected;
  for (int64_t p = 0; p < 200; ++p) expected.push_back(read_at(forwards, p));
  for (uint64_t i = 0; i < 60; ++i) {
    const auto p = static_cast<int64_t>(base::random_below(200, {1, i, 0}));
    EXPECT_EQ(read_at(forwards, p), expected[static_cast<size_t>(p)]) << p;
    EXPECT_EQ(read_at(latents(), p), expected[static_cast<size_t>(p)]) << p;  // resumed there
  }
}

TEST_F(TrainingStreamTest, AboutHalfOfTheImagesAreMirrored) {
  const auto images = toy(100);
  const TrainingStream stream({{images, "toy", 1, true, 0}}, 3);
  const TrainingStream other({{images, "toy", 1, true, 0}}, 4);
  int mirrored = 0;
  int differing = 0;
  for (int64_t p = 0; p < 10'000; ++p) {
    const bool flip = stream.at(p).variant.mirrored;
    const base::RandomKey key{3, static_cast<uint64_t>(p), stream::kFlip};
    EXPECT_EQ(flip, base::random_below(2, key) == 1);
    mirrored += flip ? 1 : 0;
    differing += flip != other.at(p).variant.mirrored ? 1 : 0;
  }
  EXPECT_NEAR(mirrored, 5000, 250);  // five standard deviations
  EXPECT_NEAR(differing, 5000, 250);
}

TEST_F(TrainingStreamTest, LatentsAreDrawnAnewEachEpochAndMirroredFromTheCache) {
  const TrainingStream stream = latents();
  const auto one = LatentDataset::open(dir_.file("one"), part_seed(11, 0));
  const auto two = LatentDataset::open(dir_.file("two"), 0);
  std::vector<float> expected(kElements);
  int mirrored = 0;
  for (int64_t p = 0; p < 100; ++p) {
    const Read read = read_at(stream, p);
    if (read.part == 0) {
      one->draw(read.index + (read.mirrored ? 6 : 0), read.draw, expected);
      mirrored += read.mirrored ? 1 : 0;
    } else {
      EXPECT_LT(read.index, 4);
      EXPECT_FALSE(read.mirrored);
      two->read(read.index, expected);
    }
    EXPECT_EQ(read.pixels, expected) << p;
  }
  EXPECT_GT(mirrored, 5);
  EXPECT_LT(mirrored, 25);
}

TEST_F(TrainingStreamTest, CorruptImageIsReplacedByTheNextGoodOneOfTheEpoch) {
  std::vector<int> corrupt = {0, 7};
  const SampleOrder order(12, 5);
  // Also one that another corrupt one follows, and the last of the first epoch.
  corrupt.push_back(static_cast<int>(order.at(4)));
  corrupt.push_back(static_cast<int>(order.at(5)));
  corrupt.push_back(static_cast<int>(order.at(11)));
  const TrainingStream stream(folder(corrupt), 5);
  const auto is_good = [&](int64_t p) {
    return std::ranges::count(corrupt, static_cast<int>(order.at(p))) == 0;
  };
  std::vector<Read> reads;
  for (int64_t p = 0; p < 36; ++p) {
    const int64_t epoch = p / 12 * 12;
    int64_t next = p;
    while (!is_good(next)) next = epoch + (next + 1) % 12;
    reads.push_back(read_at(stream, p));
    EXPECT_EQ(reads.back().index, order.at(next)) << p;
    EXPECT_EQ(reads.back().label, order.at(next) / 6);
    EXPECT_NEAR(reads.back().pixels[0], static_cast<float>(order.at(next)) / 127.5F - 1, 1e-6);
  }
  std::ranges::sort(corrupt);
  corrupt.erase(std::ranges::unique(corrupt).begin(), corrupt.end());
  EXPECT_EQ(stream.num_corrupt(), static_cast<int64_t>(corrupt.size()));
  // Whoever comes to it first.
  const TrainingStream fresh(folder(corrupt), 5);
  for (int64_t p = 35; p >= 0; --p) EXPECT_EQ(read_at(fresh, p), reads[static_cast<size_t>(p)]);
}

TEST_F(TrainingStreamTest, TooManyCorruptImagesEndTheRun) {
  const TrainingStream stream(folder({0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}), 5);
  expect_error([&] { read_at(stream, 0); }, ErrorKind::kFailure, "10 of 12 images are corrupt");
  std::filesystem::create_directories(dir_.file("few"));
  for (int i = 0; i < 3; ++i) dir_.put(fmt::format("few/{}.png", i), "");
  const TrainingStream few({{ImageFolderDataset::open(dir_.file("few"), 4, 3), "few", 1, true, 0}},
                           5);
  expect_error(
      [&] { read_at(few, 0); }, ErrorKind::kFailure, "few: none of the 3 images can be read");
}

TEST_F(TrainingStreamTest, ThreadsMayReadAtOnce) {
  constexpr int64_t kPositions = 150;
  const auto expect_equal_reads = [&](const TrainingStream& alone, const TrainingStream& shared) {
    std::vector<Read> expected;
    for (int64_t p = 0; p < kPositions; ++p) expected.push_back(read_at(alone, p));
    std::vector<std::vector<Read>> found(8);
    {
      std::vector<std::jthread> threads;
      for (size_t i = 0; i < found.size(); ++i) {
        threads.emplace_back([&, i] {
          for (int64_t p = 0; p < kPositions; ++p) {
            found[i].push_back(read_at(shared, (p + 17 * static_cast<int64_t>(i)) % kPositions));
          }
        });
      }
    }
    for (size_t i = 0; i < found.size(); ++i) {
      for (size_t p = 0; p < kPositions; ++p) {
        ASSERT_EQ(found[i][p], expected[(p + 17 * i) % kPositions]) << p;
      }
    }
  };
  expect_equal_reads(latents(), latents());
  const std::vector<StreamPart> images = folder({3, 8});
  expect_equal_reads(TrainingStream(images, 5), TrainingStream(folder({3, 8}), 5));
}

TEST_F(TrainingStreamTest, BatchesDoNotDependOnTheWorkers) {
  const TrainingStream stream = latents();
  const auto fill = [&](int64_t first, int64_t count, std::vector<Read>& batch) {
    batch.clear();
    for (int64_t p = first; p < first + count; ++p) batch.push_back(read_at(stream, p));
  };
  std::vector<Read> expected;
  fill(40, 60, expected);
  for (const int workers : {0, 1, 4}) {
    Prefetcher<std::vector<Read>> prefetcher(
        {.first = 40, .end = 100, .batch = 7, .workers = workers, .ahead = 3}, fill);
    std::vector<Read> found;
    while (prefetcher.has_next()) {
      const std::vector<Read>& batch = prefetcher.next();
      found.insert(found.end(), batch.begin(), batch.end());
    }
    EXPECT_EQ(found, expected) << workers;
  }
}

TEST_F(TrainingStreamTest, PartsThatDoNotFitTogetherAreRefused) {
  const auto refuse = [](std::vector<StreamPart> parts, const std::string& message) {
    expect_error([&] { TrainingStream(std::move(parts), 0); }, ErrorKind::kBadInput, message);
  };
  const auto images = folder({});
  refuse({{toy(5), "toys", 1, false, 0}, images[0]},
         "toys has images of 1x1x2 and images of 3x4x4");
  refuse({{toy(5), "toys", 1, false, 0}, {toy(5, 0, 3), "others", 1, false, 0}},
         "toys has 4 classes and others has 3");
  refuse({}, "found 0");
  refuse({{toy(5), "toys", -1, false, 0}}, "found -1");
  LatentSettings settings = small_settings();
  settings.flip = false;
  write(settings);
  refuse({{LatentDataset::open(dir_.file("cache")), "cache", 1, true, 0}},
         "cache: expected mirror images");
}

TEST_F(TrainingStreamTest, MixturesOfARecipeAreCheckedBeforeFiles) {
  const auto where = [](size_t part, const std::string& key) {
    return fmt::format("toy.toml: part {}: {}", part, key);
  };
  std::vector<DataSettings> parts = {{.kind = "idx", .file = "a", .labels = "b"}, {.kind = "npz"}};
  const auto refuse = [&](const std::string& message) {
    expect_error([&] { check_mixture(parts, where); }, ErrorKind::kBadInput, message, "toy.toml");
    expect_error(
        [&] { open_training_stream(parts, 0, where); }, ErrorKind::kBadInput, message, "toy.toml");
  };
  refuse("part 1: file: data of kind npz need it");
  parts[1].file = "c";
  parts[1].weight = 1.0 / 3;
  refuse("part 0: weight: expected weights of at most 9 decimals");
  parts.clear();
  refuse("part 0: weight: expected a mixture of 1 to 255 parts, found 0");
}

}  // namespace
}  // namespace ditmoe::data
