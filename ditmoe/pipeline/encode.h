#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "ditmoe/data/image_folder.h"
#include "ditmoe/data/latent_cache.h"
#include "ditmoe/data/latent_encoder.h"

namespace ditmoe::pipeline {

struct EncodeOptions {
  int64_t batch = 8;          // images given to the encoder at once
  int decoders = 1;           // threads that decode ahead of it
  double max_corrupt = 1e-3;  // the part of the images that may be corrupt
};

struct EncodeResult {
  int64_t images = 0;   // in the cache
  int64_t corrupt = 0;  // left out of it
  int64_t read = 0;     // in this run, corrupt ones among them
  int64_t encoded = 0;  // in this run
  int64_t shards = 0;
};

// Called with the images done, those of earlier runs among them, and the corrupt ones.
using EncodeProgress = std::function<void(int64_t done, int64_t corrupt)>;

// Throws bad_input where a cache would stand in the folder of the images, or in place of it: its
// folder would be taken for a class of them.
void expect_outside(const std::string& images, const std::string& out);

// Encodes the images of a folder into a latent cache in `out`, or goes on with the one there (see
// data::LatentWriter, for what is refused too, and expect_outside). settings: all but images,
// num_images, channels, height and width, which are filled in, and images_per_shard where it is 0.
// Each corrupt image is logged as a warning and listed in the cache. Throws failure when more than
// max_corrupt of all images are corrupt, and for what is no fault of an image (data::ImageLoader).
// What is written by then stays and a later run may go on with it.
EncodeResult encode_folder(const data::ImageFolder& folder,
                           data::LatentEncoder& encoder,
                           data::LatentSettings settings,
                           const EncodeOptions& options,
                           const std::string& out,
                           const EncodeProgress& progress = {});

}  // namespace ditmoe::pipeline
