#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "ditmoe/data/dataset.h"
#include "ditmoe/data/latent_cache.h"
#include "ditmoe/formats/safetensors.h"

namespace ditmoe::data {

// A latent cache as a data set: items 0 to count-1 are the images, the next `count` their mirror
// images where the cache has them. Values are as networks see them (LatentSettings: shift, scale).
class LatentDataset final : public Dataset {
 public:
  // seed: of the noise in samples drawn from moments. Reads headers and labels only. Throws
  // bad_input for a folder that is no complete cache, one without images, and for shards that do
  // not fit its index. Every shard stays open.
  static std::unique_ptr<LatentDataset> open(const std::string& folder, uint64_t seed = 0);

  int64_t size() const override { return settings().flip ? 2 * count_ : count_; }

  int64_t channels() const override { return settings().channels; }

  int64_t height() const override { return settings().height; }

  int64_t width() const override { return settings().width; }

  const std::vector<std::string>& class_names() const override { return index_.class_names; }

  int32_t label(int64_t index) const override;

  // Draw 0.
  void read(int64_t index, std::span<float> out_CHW) const override { draw(index, 0, out_CHW); }

  int64_t num_images() const override { return count_; }

  bool has_mirror_images() const override { return settings().flip; }

  // Always true: an autoencoder makes no corrupt latents.
  bool try_read(int64_t index, const Variant& variant, std::span<float> out_CHW) const override;

  // A sample of the latent's Gaussian, another for each draw < 2^31: an epoch, say. Always the same
  // values where the cache holds samples. Threads may draw at once. Throws bad_input where the
  // shard's file became shorter meanwhile.
  void draw(int64_t index, uint64_t draw, std::span<float> out_CHW) const;

  const LatentSettings& settings() const { return index_.settings; }

  // Reads everything; bad_input naming the first shard that is not as it was written.
  void verify() const;

 private:
  struct Shard {
    formats::SafetensorsFile file;
    int64_t begin;  // the item that its first image is
    std::vector<int32_t> labels;
    std::vector<int64_t> images;  // numbers in the image list
  };

  LatentDataset(std::string folder, LatentIndex index, uint64_t seed);
  void open_shard(size_t number);
  const Shard& shard_of(int64_t image) const;

  std::string folder_;
  LatentIndex index_;
  uint64_t seed_;
  int64_t count_ = 0;
  std::vector<Shard> shards_;
};

}  // namespace ditmoe::data
