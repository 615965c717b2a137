#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "ditmoe/data/latent_dataset.h"
#include "ditmoe/data/latent_writer.h"

#include "tests/formats/temp_dir.h"
#include "tests/support/arrays.h"

namespace ditmoe::data {

// A cache of seven images in three shards, [0, 3), [3, 6) and [6, 7); image 4 is corrupt.
class LatentCacheTest : public ::testing::Test {
 protected:
  static constexpr int64_t kElements = 2 * 3 * 4;

  static LatentSettings small_settings() {
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
  static std::vector<float> values(int64_t image, uint64_t which) {
    return tests::normal_values(kElements, 10 * static_cast<uint64_t>(image) + which);
  }

  // Adds images until `last`.
  static void add(LatentWriter& writer, int64_t last) {
    while (writer.next() < last) {
      const int64_t i = writer.next();
      if (i == 4) {
        writer.add_corrupt({"b/4.jpg", "damaged"});
        continue;
      }
      const std::vector<float> all[] = {values(i, 0), values(i, 1), values(i, 2), values(i, 3)};
      writer.add("", i < 3 ? 0 : 1, {all[0], all[1]}, {all[2], all[3]});
    }
  }

  void write(const LatentSettings& settings, const std::string& name = "cache") const {
    LatentWriter writer(dir_.file(name), settings, kClasses);
    add(writer, settings.num_images);
  }

  const std::vector<std::string> kClasses = {"a", "b"};
  formats::test::TempDir dir_;
};

}  // namespace ditmoe::data
