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
//   corrupt.jsonl                   the corrupt images, see corrupt_list.h
// A shard stands for a fixed range of the list and lacks only the corrupt images of that range.

namespace ditmoe::data {

// What determines the values. The last bits depend on the instruction set too (base::chosen_isa,
// DITMOE_FORCE_ISA), and images count by their names, labels and sizes in bytes: two caches with
// equal settings hold the same bits if they were made with the same instruction set and no image
// was replaced by one of the same size.
struct LatentSettings {
  std::string images;       // ImageFolder::fingerprint
  int64_t num_images = 0;   // in the list
  std::string autoencoder;  // a checksum of its weights and its shape
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

  // What the latents of an image take in a file.
  int64_t bytes_per_image() const;
};

// The least multiple of 1024 with which there are at most 512 shards, every one of which a reader
// holds open; but so few that a shard, which the writer has in memory, takes at most 256 MiB, if
// that makes no more than 4096 shards. settings: all but images_per_shard.
int64_t default_images_per_shard(const LatentSettings& settings);

struct LatentShard {
  int64_t first = 0;  // its range of the list
  int64_t last = 0;
  int64_t count = 0;  // images in it
  formats::Checksum checksum;
};

// The contents of index.json.
struct LatentIndex {
  LatentSettings settings;
  std::vector<std::string> class_names;
  std::vector<LatentShard> shards;  // in order, without gaps, from the first image on

  // Images of the list that shards stand for.
  int64_t done() const { return shards.empty() ? 0 : shards.back().last; }

  // Images in the shards.
  int64_t count() const;

  // Images that the shards lack: as many lines of the list of corrupt images count.
  int64_t corrupt() const { return done() - count(); }

  bool complete() const { return done() == settings.num_images; }
};

// Nothing where the folder has none. Throws bad_input naming the key for an index that is damaged
// or contradicts itself.
std::optional<LatentIndex> read_latent_index(const std::string& folder);

// Whole or not at all.
void write_latent_index(const std::string& folder, const LatentIndex& index);

// Throws bad_input naming the folder where the index, once it is complete, could not be read again:
// for more than 4096 shards or names of classes that take megabytes.
void expect_readable_when_complete(const std::string& folder, const LatentIndex& index);

// Reads the file and throws bad_input naming it where it is missing or not as it was written.
void expect_intact(const std::string& path, const formats::Checksum& expected);

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
