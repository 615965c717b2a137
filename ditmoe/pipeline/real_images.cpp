#include "ditmoe/pipeline/real_images.h"

#include <algorithm>
#include <filesystem>
#include <numeric>

#include <fmt/format.h>

#include "ditmoe/base/error.h"
#include "ditmoe/formats/idx.h"

namespace ditmoe::pipeline {
namespace {

namespace fs = std::filesystem;

// path or path.gz, whichever exists; "" if none does.
std::string existing(const fs::path& path) {
  if (fs::exists(path)) return path.string();
  const std::string compressed = path.string() + ".gz";
  return fs::exists(compressed) ? compressed : "";
}

std::string images_file(const std::string& path, const std::string& part) {
  if (!fs::is_directory(path)) return path;
  const std::string name = part + "-images-idx3-ubyte";
  std::string file = existing(fs::path(path) / name);
  if (file.empty()) {
    base::bad_input("{}: expected {}, plain or .gz, in this folder", path, name);
  }
  return file;
}

// The file of labels that belongs to a file of images; "" if there is none.
std::string labels_file(const std::string& images) {
  const fs::path path(images);
  std::string name = path.filename().string();
  const std::string part = "images-idx3";
  const size_t position = name.find(part);
  if (position == std::string::npos) return "";
  name.replace(position, part.size(), "labels-idx1");
  const fs::path labels = path.parent_path() / name;
  return fs::exists(labels) ? labels.string() : "";
}

std::vector<int32_t> read_labels(const std::string& file, int64_t images, int64_t num_classes) {
  const base::Tensor values = formats::read_idx(file);
  if (values.shape() != base::Shape{images}) {
    base::bad_input("{}: expected one label for each of {} images, found {}",
                    file,
                    images,
                    base::to_string(values.shape()));
  }
  const auto labels = values.as<uint8_t>();
  const auto bad =
      std::find_if(labels.begin(), labels.end(), [&](uint8_t x) { return x >= num_classes; });
  if (bad != labels.end()) {
    base::bad_input("{}: label {}: expected a number from 0 to {}, found {}",
                    file,
                    bad - labels.begin(),
                    num_classes - 1,
                    *bad);
  }
  return {labels.begin(), labels.end()};
}

// Numbers of the first `share` images of each class, in the file's order.
std::vector<int64_t> balanced_rows(const RealImages& real, int64_t share, int64_t num_classes) {
  std::vector<int64_t> taken(static_cast<size_t>(num_classes));
  std::vector<int64_t> rows;
  for (size_t i = 0; i < real.labels.size(); ++i) {
    int64_t& of_class = taken[static_cast<size_t>(real.labels[i])];
    if (of_class == share) continue;
    ++of_class;
    rows.push_back(static_cast<int64_t>(i));
  }
  if (static_cast<int64_t>(rows.size()) < share * num_classes) {
    base::bad_input("{}: expected at least {} images of each of {} classes",
                    real.files.front(),
                    share,
                    num_classes);
  }
  return rows;
}

}  // namespace

RealImages read_real_images(const std::string& path, const std::string& part, int64_t num_classes) {
  RealImages real;
  const std::string file = images_file(path, part);
  base::Tensor images_NHW = formats::read_idx(file);
  if (images_NHW.shape().size() != 3) {
    base::bad_input(
        "{}: expected images [N, H, W], found {}", file, base::to_string(images_NHW.shape()));
  }
  const int64_t count = images_NHW.dim(0);
  real.files.push_back(file);
  if (const std::string labels = labels_file(file); !labels.empty()) {
    real.labels = read_labels(labels, count, num_classes);
    real.files.push_back(labels);
  }
  real.images_NHWC =
      base::Tensor(base::DType::kU8, {count, images_NHW.dim(1), images_NHW.dim(2), 1});
  std::ranges::copy(images_NHW.as<uint8_t>(), real.images_NHWC.as<uint8_t>().begin());
  return real;
}

Selection select_images(const RealImages& real, int64_t count, int64_t num_classes) {
  if (!real.labels.empty() && count % num_classes == 0) {
    const int64_t share = count / num_classes;
    return {balanced_rows(real, share, num_classes),
            fmt::format("the first {} of each of {} classes", share, num_classes)};
  }
  const int64_t available = real.images_NHWC.dim(0);
  if (available < count) {
    base::bad_input(
        "{}: expected at least {} images, found {}", real.files.front(), count, available);
  }
  std::vector<int64_t> rows(static_cast<size_t>(count));
  std::iota(rows.begin(), rows.end(), 0);
  return {std::move(rows), fmt::format("the first {}", count)};
}

int64_t comparable_count(const RealImages& real, int64_t drawn, int64_t num_classes) {
  constexpr int64_t kFewest = 1000;
  const int64_t wanted = std::max(drawn, kFewest);
  std::vector<int64_t> counts(static_cast<size_t>(num_classes));
  for (const int32_t label : real.labels) ++counts[static_cast<size_t>(label)];
  const int64_t share =
      std::min(wanted / num_classes, *std::min_element(counts.begin(), counts.end()));
  return share > 0 ? share * num_classes : std::min(wanted, real.images_NHWC.dim(0));
}

base::Tensor gather_images(const RealImages& real, const std::vector<int64_t>& rows) {
  base::Shape shape = real.images_NHWC.shape();
  const int64_t size = shape[1] * shape[2] * shape[3];
  shape[0] = static_cast<int64_t>(rows.size());
  base::Tensor images_NHWC(base::DType::kU8, shape);
  for (size_t i = 0; i < rows.size(); ++i) {
    std::copy_n(real.images_NHWC.as<uint8_t>().begin() + rows[i] * size,
                size,
                images_NHWC.as<uint8_t>().begin() + static_cast<int64_t>(i) * size);
  }
  return images_NHWC;
}

}  // namespace ditmoe::pipeline
