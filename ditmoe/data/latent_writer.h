#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "ditmoe/data/corrupt_list.h"
#include "ditmoe/data/latent_cache.h"
#include "ditmoe/formats/folder.h"

namespace ditmoe::data {

// The Gaussian of an image's latent, [C, h, w] each.
struct Moments {
  std::span<const float> mean;
  std::span<const float> logvar;
};

// Writes a latent cache shard by shard; every shard appears whole or not at all, so a run that was
// stopped loses only what came after the last one.
class LatentWriter {
 public:
  // Begins a cache in a folder, which is made or is empty, or goes on with one that was begun with
  // the same settings and classes. That reads the shards there are: one that is missing or not as
  // it was written is told in a warning and dropped with all behind it, to be written again; so are
  // those that miss lines in the list of corrupt images. Throws bad_input naming the folder for
  // other settings, a damaged index, other files without one, another process at work there, less
  // room on the disk than the cache will take, or an index that would be too large to be read.
  LatentWriter(std::string folder, LatentSettings settings, std::vector<std::string> class_names);

  const LatentIndex& index() const { return index_; }

  // The number of the image that comes next.
  int64_t next() const { return next_; }

  // The image after the last one of the shard that next() is in.
  int64_t shard_end() const;

  // Adds image next(). name: for messages. mirrored: of the mirror image, used where the settings
  // have flip. Throws failure for values that are not finite or too large for the type.
  void add(const std::string& name, int32_t label, const Moments& image, const Moments& mirrored);

  // Notes that image next() is left out.
  void add_corrupt(CorruptImage image);

 private:
  // Values of one tensor of the shard in work.
  using Values = std::vector<std::byte>;

  void resume(LatentIndex begun);
  void drop_damaged_shards();
  void check_room() const;
  void check_values(const std::string& name, std::span<const float> values) const;
  void store(const std::string& name, const Moments& moments, bool flipped);
  void append(const std::string& name, std::span<const float> values, Values& out);
  void advance();
  void write_shard();

  std::string folder_;
  std::unique_ptr<formats::FolderLock> lock_;
  LatentIndex index_;
  int64_t next_ = 0;

  Values first_[2];  // mean or sample; [1] of the mirror images
  Values logvar_[2];
  std::vector<int32_t> labels_;
  std::vector<int64_t> indices_;
  std::vector<CorruptImage> corrupt_;
  std::vector<float> sample_;
};

}  // namespace ditmoe::data
