#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "ditmoe/data/dataset.h"
#include "ditmoe/data/image_folder.h"

namespace ditmoe::data {

// An image folder as a data set: images are decoded and cropped (centre_crop) as they are read, by
// the thread that reads. Without class folders it has no class names, and all labels are 0.
class ImageFolderDataset final : public Dataset {
 public:
  // Only lists. image_size: side in pixels. channels: 1 or 3; grey is made of the cropped colours.
  // limit: use only the first images; 0 is all. Throws as ImageFolder::open does.
  static std::unique_ptr<ImageFolderDataset> open(const std::string& root,
                                                  int64_t image_size,
                                                  int64_t channels,
                                                  int64_t limit = 0);

  int64_t size() const override { return size_; }

  int64_t channels() const override { return channels_; }

  int64_t height() const override { return image_size_; }

  int64_t width() const override { return image_size_; }

  const std::vector<std::string>& class_names() const override { return folder_.class_names(); }

  int32_t label(int64_t index) const override;

  // Throws failure for what is no fault of the image, see load_image.
  void read(int64_t index, std::span<float> out_CHW) const override;

  // Fails once at least 10 images, and more than 0.1 % of them, were found to be corrupt. An image
  // that was is not read again.
  bool try_read(int64_t index, const Variant& variant, std::span<float> out_CHW) const override;

  int64_t num_corrupt() const override;

 private:
  ImageFolderDataset(ImageFolder folder, int64_t image_size, int64_t channels, int64_t limit);

  std::string load(int64_t index, std::span<float> out_CHW) const;
  bool is_known_corrupt(int64_t index) const;
  void note_corrupt(int64_t index, const std::string& error) const;

  ImageFolder folder_;
  int64_t image_size_;
  int64_t channels_;
  int64_t size_;
  mutable std::mutex mutex_;
  mutable std::set<int64_t> corrupt_;  // guarded by mutex_
};

}  // namespace ditmoe::data
