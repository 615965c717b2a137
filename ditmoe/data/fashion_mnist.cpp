#include <filesystem>

#include "ditmoe/base/error.h"
#include "ditmoe/data/array_dataset.h"
#include "ditmoe/data/dataset.h"

namespace ditmoe::data {

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
  LabelledImages result = read_idx_images(images_path, labels_path);
  if (result.images_NHWC.dim(3) != 1) {
    base::bad_input("{}: expected grey images, found {}",
                    images_path,
                    base::to_string(result.images_NHWC.shape()));
  }
  check_labels(result.labels, static_cast<int64_t>(fashion_mnist_classes().size()), labels_path);
  return result;
}

std::unique_ptr<Dataset> open_fashion_mnist(const std::string& folder,
                                            Split split,
                                            int64_t channels) {
  return make_array_dataset(read_fashion_mnist(folder, split), fashion_mnist_classes(), channels);
}

}  // namespace ditmoe::data
