#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "ditmoe/base/tensor.h"

namespace ditmoe::data {

// How an image is wanted.
struct Variant {
  bool mirrored = false;  // left to right
  uint64_t draw = 0;      // < 2^31; of latents that are Gaussians, another sample for each
};

// Labelled images of one size, or an autoencoder's latents of them, addressed by number.
// Threads may read at once.
class Dataset {
 public:
  virtual ~Dataset() = default;

  virtual int64_t size() const = 0;
  virtual int64_t channels() const = 0;
  virtual int64_t height() const = 0;
  virtual int64_t width() const = 0;
  virtual const std::vector<std::string>& class_names() const = 0;

  virtual int32_t label(int64_t index) const = 0;

  // One image as [C, H, W] f32 in [-1, 1], or one latent as networks see it. Throws bad_input for
  // an image that cannot be read.
  virtual void read(int64_t index, std::span<float> out_CHW) const = 0;

  // What training asks for. Items [0, num_images()) are images, the others, if any, mirror images.
  virtual int64_t num_images() const { return size(); }

  // Whether images can be had mirrored.
  virtual bool has_mirror_images() const { return true; }

  // Image index < num_images() as `variant` says; mirrored only where has_mirror_images(). False,
  // with anything in out_CHW, for a corrupt image, which is counted and named in a warning once.
  // Throws failure once too many are.
  virtual bool try_read(int64_t index, const Variant& variant, std::span<float> out_CHW) const;

  // Corrupt images that were met so far.
  virtual int64_t num_corrupt() const { return 0; }

  int64_t num_classes() const { return static_cast<int64_t>(class_names().size()); }

  int64_t image_elements() const { return channels() * height() * width(); }
};

// Which half of a data set.
enum class Split { kTrain, kTest };

// Fashion-MNIST (Xiao et al. 2017): 28x28 grey, ten classes, from the gzip'd IDX files in `folder`
// (Debian's dataset-fashion-mnist puts them in /usr/share/datasets/fashion-mnist).
// Throws bad_input naming the package where the folder is missing, and for files that are damaged,
// do not belong together or hold no images. channels: 1, or 3 for grey thrice.
std::unique_ptr<Dataset> open_fashion_mnist(const std::string& folder,
                                            Split split,
                                            int64_t channels = 1);

// The raw images of open_fashion_mnist: [N, H, W, 1] u8, at least one, and their labels.
struct LabelledImages {
  base::Tensor images_NHWC;
  std::vector<int32_t> labels;
};

LabelledImages read_fashion_mnist(const std::string& folder, Split split);

// Class names in the order of the labels.
const std::vector<std::string>& fashion_mnist_classes();

}  // namespace ditmoe::data
