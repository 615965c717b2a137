#include <algorithm>
#include <filesystem>

#include "ditmoe/data/dataset.h"
#include "ditmoe/formats/idx.h"

namespace ditmoe::data {
namespace {

class FashionMnist final : public Dataset {
 public:
  explicit FashionMnist(LabelledImages contents) : contents_(std::move(contents)) {}

  int64_t size() const override { return contents_.images_NHWC.dim(0); }

  int64_t channels() const override { return 1; }

  int64_t height() const override { return contents_.images_NHWC.dim(1); }

  int64_t width() const override { return contents_.images_NHWC.dim(2); }

  const std::vector<std::string>& class_names() const override { return fashion_mnist_classes(); }

  int32_t label(int64_t index) const override {
    return contents_.labels.at(static_cast<size_t>(index));
  }

  void read(int64_t index, std::span<float> out_CHW) const override {
    const auto pixels = contents_.images_NHWC.as<uint8_t>().subspan(
        static_cast<size_t>(index) * out_CHW.size(), out_CHW.size());
    for (size_t i = 0; i < pixels.size(); ++i) {
      out_CHW[i] = static_cast<float>(pixels[i]) / 127.5F - 1.0F;
    }
  }

 private:
  LabelledImages contents_;
};

}  // namespace

const std::vector<std::string>& fashion_mnist_classes() {
  static const std::vector<std::string> names = {"T-shirt/top",
                                                 "Trouser",
                                                 "Pullover",
                                                 "Dress",
                                                 "Coat",
                                                 "Sandal",
                                                 "Shirt",
                                                 "Sneaker",
                                                 "Bag",
                                                 "Ankle boot"};
  return names;
}

LabelledImages read_fashion_mnist(const std::string& folder, Split split) {
  const std::string stem = folder + (split == Split::kTrain ? "/train" : "/t10k");
  const std::string images_path = stem + "-images-idx3-ubyte.gz";
  const std::string labels_path = stem + "-labels-idx1-ubyte.gz";
  if (!std::filesystem::exists(images_path)) {
    base::bad_input("{}: no such file; Debian's package dataset-fashion-mnist has it", images_path);
  }
  base::Tensor images = formats::read_idx(images_path);
  const base::Tensor labels = formats::read_idx(labels_path);
  if (images.shape().size() != 3 || labels.shape() != base::Shape{images.dim(0)}) {
    base::bad_input("{}: expected images [N, H, W] and as many labels, found {} and {}",
                    images_path,
                    base::to_string(images.shape()),
                    base::to_string(labels.shape()));
  }
  if (images.size() == 0) {
    base::bad_input("{}: expected images, found {}", images_path, base::to_string(images.shape()));
  }
  LabelledImages result;
  result.images_NHWC =
      base::Tensor(base::DType::kU8, {images.dim(0), images.dim(1), images.dim(2), 1});
  std::ranges::copy(images.as<uint8_t>(), result.images_NHWC.as<uint8_t>().begin());
  for (const uint8_t label : labels.as<uint8_t>()) {
    if (label >= fashion_mnist_classes().size()) {
      base::bad_input("{}: expected labels below {}, found {}",
                      labels_path,
                      fashion_mnist_classes().size(),
                      label);
    }
    result.labels.push_back(label);
  }
  return result;
}

std::unique_ptr<Dataset> open_fashion_mnist(const std::string& folder, Split split) {
  return std::make_unique<FashionMnist>(read_fashion_mnist(folder, split));
}

}  // namespace ditmoe::data
