#include "ditmoe/data/image_folder_dataset.h"

#include <algorithm>
#include <utility>

#include "ditmoe/base/error.h"
#include "ditmoe/base/log.h"
#include "ditmoe/data/image_loader.h"
#include "ditmoe/data/pixels.h"

namespace ditmoe::data {
namespace {

// Fewer corrupt images are let pass whatever their part of all.
constexpr size_t kFewCorrupt = 10;
constexpr size_t kOneCorruptIn = 1000;

}  // namespace

std::unique_ptr<ImageFolderDataset> ImageFolderDataset::open(const std::string& root,
                                                             int64_t image_size,
                                                             int64_t channels,
                                                             int64_t limit) {
  return std::unique_ptr<ImageFolderDataset>(
      new ImageFolderDataset(ImageFolder::open(root), image_size, channels, limit));
}

ImageFolderDataset::ImageFolderDataset(ImageFolder folder,
                                       int64_t image_size,
                                       int64_t channels,
                                       int64_t limit)
    : folder_(std::move(folder)),
      image_size_(image_size),
      channels_(channels),
      size_(limit > 0 ? std::min(limit, folder_.size()) : folder_.size()) {
  DITMOE_ASSERT(image_size > 0 && (channels == 1 || channels == 3) && limit >= 0);
}

int32_t ImageFolderDataset::label(int64_t index) const {
  DITMOE_ASSERT(index >= 0 && index < size_);
  return folder_.label(index);
}

void ImageFolderDataset::read(int64_t index, std::span<float> out_CHW) const {
  const std::string error = load(index, out_CHW);
  if (!error.empty()) base::bad_input("{}", error);
}

bool ImageFolderDataset::try_read(int64_t index,
                                  const Variant& variant,
                                  std::span<float> out_CHW) const {
  if (is_known_corrupt(index)) return false;
  const std::string error = load(index, out_CHW);
  if (!error.empty()) {
    note_corrupt(index, error);
    return false;
  }
  if (variant.mirrored) mirror_rows(out_CHW, width());
  return true;
}

int64_t ImageFolderDataset::num_corrupt() const {
  const std::lock_guard lock(mutex_);
  return static_cast<int64_t>(corrupt_.size());
}

// Returns what is wrong with the image; "" where nothing is.
std::string ImageFolderDataset::load(int64_t index, std::span<float> out_CHW) const {
  DITMOE_ASSERT(index >= 0 && index < size_);
  LoadedImage loaded = load_image(folder_, index, image_size_);
  if (loaded.error.empty()) scale_pixels(loaded.image.pixels_HWC, 3, channels_, out_CHW);
  return std::move(loaded.error);
}

bool ImageFolderDataset::is_known_corrupt(int64_t index) const {
  const std::lock_guard lock(mutex_);
  return corrupt_.contains(index);
}

void ImageFolderDataset::note_corrupt(int64_t index, const std::string& error) const {
  size_t count = 0;
  {
    const std::lock_guard lock(mutex_);
    if (!corrupt_.insert(index).second) return;
    count = corrupt_.size();
  }
  base::log_warning("{}; another image takes its place", error);
  if (count >= kFewCorrupt && count * kOneCorruptIn > static_cast<size_t>(size_)) {
    base::failure("{}: {} of {} images are corrupt so far, over the limit of 0.1%; the last: {}",
                  folder_.root(),
                  count,
                  size_,
                  error);
  }
}

}  // namespace ditmoe::data
