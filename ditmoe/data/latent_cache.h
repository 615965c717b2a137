#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "ditmoe/base/philox.h"
#include "ditmoe/base/tensor.h"
#include "ditmoe/formats/checksum.h"

// A latent cache is a folder of an autoencoder's latents of the images of another folder:
//   latents-00000.safetensors ...   [N, C, h, w] f16 or f32: `mean` and `logvar`, or `sample`; with
//                                   mirror images also `mean_flip` and `logvar_flip`, or
//                                   `sample_flip`; `label` I32 [N]; `index` I64 [N], the images'
//                                   numbers in the list of the image folder
//   index.json                      what follows
// A shard stands for a fixed range of the list and lacks only the corrupt images of that range.

namespace ditmoe::data {

// What determines the values. Two caches with equal settings are equal.
struct LatentSettings {
  std::string images;       // ImageFolder::fingerprint
  int64_t num_images = 0;   // in the list
  std::string autoencoder;  // a name of its weights: their checksum
  std::string precision;    // it computed in
  int64_t image_size = 0;   // pixels
  int64_t channels = 0;     // of a latent
  int64_t height = 0;
  int64_t width = 0;
  bool moments = true;  // mean and log-variance, else a sample
  bool flip = false;    // mirror images too
  base::DType dtype = base::DType::kF16;
  uint64_t seed = 0;       // of samples
  double scale = 0.18215;  // networks see (latent - shift) * scale; files hold latents
  double shift = 0;
  int64_t images_per_shard = 0;

  int64_t elements() const { return channels * height * width; }
};

// A multiple of 1024 such that there are at most 512 shards: a reader holds every one of them open.
int64_t default_images_per_shard(int64_t num_images);

struct LatentShard {
  int64_t first = 0;  // its range of the list
  int64_t last = 0;
  int64_t count = 0;  // images in it
  formats::Checksum checksum;
};

struct CorruptImage {
  std::string name;
  std::string reason;
};

// The contents of index.json.
struct LatentIndex {
  LatentSettings settings;
  std::vector<std::string> class_names;
  std::vector<LatentShard> shards;  // in order, without gaps, from the first image on
  std::vector<CorruptImage> corrupt;

  // Images of the list that shards stand for.
  int64_t done() const { return shards.empty() ? 0 : shards.back().last; }

  // Images in the shards.
  int64_t count() const;

  bool complete() const { return done() == settings.num_images; }
};

// Nothing where the folder has none. Throws bad_input naming the key for an index that is damaged
// or contradicts itself.
std::optional<LatentIndex> read_latent_index(const std::string& folder);

// Whole or not at all.
void write_latent_index(const std::string& folder, const LatentIndex& index);

// One line naming the first setting in which they differ, with both values; empty where none does.
std::string difference(const LatentSettings& found, const LatentSettings& wanted);

std::string shard_path(const std::string& folder, size_t number);

// out = mean + exp(logvar / 2) · noise, in f32; noise: standard normal, the stream of `key`.
void sample_latent(std::span<const float> mean,
                   std::span<const float> logvar,
                   const base::RandomKey& key,
                   std::span<float> out);

// The stream of the noise in one draw of an image's latent (index: in the image list).
base::RandomKey latent_key(uint64_t seed, uint64_t draw, int64_t index, bool flipped);

}  // namespace ditmoe::data
