#include "ditmoe/pipeline/encode.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <system_error>
#include <utility>
#include <vector>

#include "ditmoe/base/error.h"
#include "ditmoe/base/log.h"
#include "ditmoe/data/corrupt_list.h"
#include "ditmoe/data/image_loader.h"
#include "ditmoe/data/latent_writer.h"

namespace ditmoe::pipeline {
namespace {

namespace fs = std::filesystem;

// Batches that wait decoded while one is encoded.
constexpr int64_t kBatchesAhead = 2;

// Mirrors rows of [N, S, S, 3] in place.
void mirror(std::span<uint8_t> images_NHWC, int64_t size) {
  const int64_t row_bytes = 3 * size;
  for (auto row = images_NHWC.begin(); row != images_NHWC.end(); row += row_bytes) {
    for (int64_t left = 0, right = size - 1; left < right; ++left, --right) {
      std::swap_ranges(row + 3 * left, row + 3 * left + 3, row + 3 * right);
    }
  }
}

// Without links; empty where the path cannot be followed, which whoever opens it will tell.
fs::path resolved(const std::string& path) {
  std::error_code error;
  const fs::path absolute = fs::absolute(path, error);
  if (error) return {};
  fs::path result = fs::weakly_canonical(absolute, error);
  return error ? fs::path() : result;
}

// The error without the file it begins with, which stands beside it in the list.
std::string reason_of(const std::string& error, const std::string& path) {
  const std::string beginning = path + ": ";
  return error.starts_with(beginning) ? error.substr(beginning.size()) : error;
}

// Gathers images into batches, encodes them and hands everything to the writer in order.
class Encoding {
 public:
  Encoding(const data::ImageFolder& folder,
           data::LatentEncoder& encoder,
           data::LatentWriter& writer,
           int64_t batch)
      : folder_(folder),
        encoder_(encoder),
        writer_(writer),
        batch_(batch),
        size_(writer.index().settings.image_size),
        images_NHWC_(base::DType::kU8, {batch, size_, size_, 3}) {
    const auto values = static_cast<size_t>(batch * writer.index().settings.elements());
    for (const bool mirrored : {false, true}) {
      mean_[mirrored].resize(values);
      logvar_[mirrored].resize(values);
    }
  }

  void add(data::LoadedImage loaded) {
    if (loaded.error.empty()) {
      const auto& pixels = loaded.image.pixels_HWC;
      std::ranges::copy(
          pixels,
          images_NHWC_.as<uint8_t>().begin() + num_good_ * static_cast<int64_t>(pixels.size()));
      loaded.image.pixels_HWC.clear();
      ++num_good_;
    }
    waiting_.push_back(std::move(loaded));
    if (num_good_ == batch_ || waiting_.back().index + 1 == writer_.shard_end()) flush();
  }

  int64_t encoded() const { return encoded_; }

 private:
  void encode(bool mirrored) {
    base::TensorView images = images_NHWC_.view();
    images.shape[0] = num_good_;
    if (mirrored) mirror(images_NHWC_.as<uint8_t>().first(images.bytes()), size_);
    const auto values = static_cast<size_t>(num_good_ * writer_.index().settings.elements());
    encoder_.encode(images,
                    std::span(mean_[mirrored]).first(values),
                    std::span(logvar_[mirrored]).first(values));
  }

  data::Moments moments(int64_t row, bool mirrored) const {
    const auto elements = static_cast<size_t>(writer_.index().settings.elements());
    const size_t begin = static_cast<size_t>(row) * elements;
    return {std::span(mean_[mirrored]).subspan(begin, elements),
            std::span(logvar_[mirrored]).subspan(begin, elements)};
  }

  void flush() {
    if (num_good_ > 0) {
      encode(false);
      if (writer_.index().settings.flip) encode(true);
    }
    int64_t row = 0;
    for (const data::LoadedImage& image : waiting_) {
      DITMOE_ASSERT(image.index == writer_.next());
      const std::string& name = folder_.name(image.index);
      if (image.error.empty()) {
        writer_.add(name, folder_.label(image.index), moments(row, false), moments(row, true));
        ++row;
      } else {
        writer_.add_corrupt({name, reason_of(image.error, folder_.path(image.index))});
      }
    }
    encoded_ += num_good_;
    num_good_ = 0;
    waiting_.clear();
  }

  const data::ImageFolder& folder_;
  data::LatentEncoder& encoder_;
  data::LatentWriter& writer_;
  int64_t batch_;
  int64_t size_;
  base::Tensor images_NHWC_;
  std::vector<float> mean_[2];  // [1] of the mirror images
  std::vector<float> logvar_[2];
  std::vector<data::LoadedImage> waiting_;  // in order; good ones without their pixels
  int64_t num_good_ = 0;
  int64_t encoded_ = 0;
};

// Fails once more images are corrupt than may be.
class CorruptLimit {
 public:
  CorruptLimit(int64_t num_images, double rate)
      : num_images_(num_images),
        rate_(rate),
        // 0.29 of 100 images are 28.999999999999996.
        most_(static_cast<int64_t>(std::floor(rate * static_cast<double>(num_images) + 1e-6))) {}

  // which: where they are told.
  void check(int64_t corrupt, const std::string& which) const {
    if (corrupt <= most_) return;
    base::failure("{} of {} images are corrupt, over the limit of {:.3g}% (--max-corrupt); {}",
                  corrupt,
                  num_images_,
                  100 * rate_,
                  which);
  }

 private:
  int64_t num_images_;
  double rate_;
  int64_t most_;
};

}  // namespace

void expect_outside(const std::string& images, const std::string& out) {
  const fs::path below = resolved(out).lexically_relative(resolved(images));
  if (below.empty() || *below.begin() == "..") return;
  base::bad_input("{}: expected a folder outside of that of the images, {}", out, images);
}

EncodeResult encode_folder(const data::ImageFolder& folder,
                           data::LatentEncoder& encoder,
                           data::LatentSettings settings,
                           const EncodeOptions& options,
                           const std::string& out,
                           const EncodeProgress& progress) {
  expect_outside(folder.root(), out);
  const base::Shape latent = encoder.latent_shape(settings.image_size);
  settings.images = folder.fingerprint();
  settings.num_images = folder.size();
  settings.channels = latent.at(0);
  settings.height = latent.at(1);
  settings.width = latent.at(2);
  if (settings.images_per_shard == 0) {
    settings.images_per_shard = data::default_images_per_shard(settings);
  }
  data::LatentWriter writer(out, settings, folder.class_names());

  const CorruptLimit limit(folder.size(), options.max_corrupt);
  const int64_t first = writer.next();
  int64_t corrupt = writer.index().corrupt();
  limit.check(corrupt, "they are listed in " + data::corrupt_list_path(out));
  const int64_t ahead = kBatchesAhead * options.batch + options.decoders;
  data::ImageLoader loader(
      folder, first, folder.size(), settings.image_size, options.decoders, ahead);
  Encoding encoding(folder, encoder, writer, options.batch);
  while (std::optional<data::LoadedImage> image = loader.next()) {
    if (!image->error.empty()) {
      base::log_warning("{}", image->error);
      limit.check(++corrupt, "the last: " + image->error);
    }
    encoding.add(std::move(*image));
    if (progress) progress(writer.next(), corrupt);
  }
  return {writer.index().count(),
          corrupt,
          folder.size() - first,
          encoding.encoded(),
          static_cast<int64_t>(writer.index().shards.size())};
}

}  // namespace ditmoe::pipeline
