#include "ditmoe/data/array_dataset.h"

#include <algorithm>
#include <initializer_list>
#include <map>
#include <utility>

#include "ditmoe/base/error.h"
#include "ditmoe/data/pixels.h"
#include "ditmoe/formats/bytes.h"
#include "ditmoe/formats/idx.h"
#include "ditmoe/formats/npz.h"

namespace ditmoe::data {
namespace {

using base::bad_input;

// As many as a network can have classes.
constexpr int64_t kMaxLabels = int64_t{1} << 24;

class ArrayDataset final : public Dataset {
 public:
  ArrayDataset(LabelledImages contents, std::vector<std::string> class_names, int64_t channels)
      : contents_(std::move(contents)),
        class_names_(std::move(class_names)),
        channels_(channels),
        bytes_(contents_.images_NHWC.bytes() / static_cast<size_t>(size())) {}

  int64_t size() const override { return contents_.images_NHWC.dim(0); }

  int64_t channels() const override { return channels_; }

  int64_t height() const override { return contents_.images_NHWC.dim(1); }

  int64_t width() const override { return contents_.images_NHWC.dim(2); }

  const std::vector<std::string>& class_names() const override { return class_names_; }

  int32_t label(int64_t index) const override {
    return contents_.labels.at(static_cast<size_t>(index));
  }

  void read(int64_t index, std::span<float> out_CHW) const override {
    DITMOE_ASSERT(index >= 0 && index < size());
    const auto pixels_HWC =
        contents_.images_NHWC.as<uint8_t>().subspan(static_cast<size_t>(index) * bytes_, bytes_);
    scale_pixels(pixels_HWC, contents_.images_NHWC.dim(3), channels_, out_CHW);
  }

 private:
  LabelledImages contents_;
  std::vector<std::string> class_names_;
  int64_t channels_;
  size_t bytes_;  // of an image
};

// place: the file, and the array in it.
base::Tensor as_NHWC(base::Tensor images, const std::string& place) {
  const base::Shape shape = images.shape();
  const bool fits = shape.size() == 3 || (shape.size() == 4 && (shape[3] == 1 || shape[3] == 3));
  if (images.dtype() != base::DType::kU8 || !fits) {
    bad_input("{}: expected images of U8 [N, H, W], [N, H, W, 1] or [N, H, W, 3], found {} {}",
              place,
              base::name_of(images.dtype()),
              base::to_string(shape));
  }
  if (images.size() == 0) {
    bad_input("{}: expected images, found {}", place, base::to_string(shape));
  }
  if (shape.size() == 4) return images;
  base::Tensor result(base::DType::kU8, {shape[0], shape[1], shape[2], 1});
  std::ranges::copy(images.as<uint8_t>(), result.as<uint8_t>().begin());
  return result;
}

std::vector<int32_t> as_labels(const base::Tensor& labels, const std::string& place) {
  const base::Tensor wide = base::convert(labels.view(), base::DType::kI64);
  std::vector<int32_t> result;
  for (const int64_t label : wide.as<int64_t>()) {
    if (label < 0 || label >= kMaxLabels) {
      bad_input(
          "{}: label {}: expected 0 to {}, found {}", place, result.size(), kMaxLabels - 1, label);
    }
    result.push_back(static_cast<int32_t>(label));
  }
  return result;
}

bool is_whole(base::DType dtype) {
  using enum base::DType;
  return dtype == kU8 || dtype == kI8 || dtype == kI16 || dtype == kI32 || dtype == kI64;
}

using Arrays = std::map<std::string, base::Tensor>;

// The first of the names that there is.
Arrays::iterator find_array(Arrays& arrays,
                            std::initializer_list<const char*> names,
                            const std::string& path) {
  for (const char* name : names) {
    if (const auto found = arrays.find(name); found != arrays.end()) return found;
  }
  std::string there;
  for (const auto& entry : arrays) there += (there.empty() ? "" : ", ") + entry.first;
  bad_input("{}: expected an array {}, found {}",
            path,
            fmt::join(names, " or "),
            there.empty() ? "none" : formats::printable(there));
}

}  // namespace

std::unique_ptr<Dataset> make_array_dataset(LabelledImages contents,
                                            std::vector<std::string> class_names,
                                            int64_t channels) {
  const base::Tensor& images = contents.images_NHWC;
  DITMOE_ASSERT(images.shape().size() == 4 && images.size() > 0);
  DITMOE_ASSERT(contents.labels.size() == static_cast<size_t>(images.dim(0)));
  DITMOE_ASSERT(static_cast<size_t>(std::ranges::max(contents.labels)) < class_names.size());
  return std::make_unique<ArrayDataset>(std::move(contents), std::move(class_names), channels);
}

LabelledImages read_idx_images(const std::string& images_path, const std::string& labels_path) {
  base::Tensor images = formats::read_idx(images_path);
  const base::Tensor labels = formats::read_idx(labels_path);
  if (labels.shape() != base::Shape{images.dim(0)}) {
    bad_input("{}: expected images [N, H, W] and as many labels, found {} and {}",
              images_path,
              base::to_string(images.shape()),
              base::to_string(labels.shape()));
  }
  return {as_NHWC(std::move(images), images_path), as_labels(labels, labels_path)};
}

LabelledImages read_npz_images(const std::string& path) {
  Arrays arrays = formats::read_npz(path);
  auto& [images_name, images] = *find_array(arrays, {"images", "arr_0"}, path);
  const auto& [labels_name, labels] = *find_array(arrays, {"labels", "y", "arr_1"}, path);
  const std::string labels_place = fmt::format("{}: array {}", path, labels_name);
  if (!is_whole(labels.dtype())) {
    bad_input("{}: expected whole numbers, found {}", labels_place, base::name_of(labels.dtype()));
  }
  base::Tensor images_NHWC =
      as_NHWC(std::move(images), fmt::format("{}: array {}", path, images_name));
  if (labels.shape() != base::Shape{images_NHWC.dim(0)}) {
    bad_input("{}: expected the labels of {} images, found {}",
              labels_place,
              images_NHWC.dim(0),
              base::to_string(labels.shape()));
  }
  return {std::move(images_NHWC), as_labels(labels, labels_place)};
}

void check_labels(std::span<const int32_t> labels, int64_t num_classes, const std::string& path) {
  for (size_t i = 0; i < labels.size(); ++i) {
    if (labels[i] < 0 || labels[i] >= num_classes) {
      bad_input("{}: label {}: expected one below {}, found {}", path, i, num_classes, labels[i]);
    }
  }
}

}  // namespace ditmoe::data
