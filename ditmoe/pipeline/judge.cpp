#include "ditmoe/pipeline/judge.h"

#include <algorithm>
#include <filesystem>

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

std::string images_file(const std::string& path) {
  if (!fs::is_directory(path)) return path;
  const std::string file = existing(fs::path(path) / "t10k-images-idx3-ubyte");
  if (file.empty()) {
    base::bad_input("{}: expected t10k-images-idx3-ubyte, plain or .gz, in this folder", path);
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

// Numbers of the first count / num_classes images of each class, in the file's order.
std::vector<int64_t> balanced_rows(std::span<const uint8_t> labels,
                                   int64_t count,
                                   int64_t num_classes,
                                   const std::string& source) {
  const int64_t share = count / num_classes;
  std::vector<int64_t> taken(static_cast<size_t>(num_classes));
  std::vector<int64_t> rows;
  for (size_t i = 0; i < labels.size(); ++i) {
    if (labels[i] >= num_classes || taken[labels[i]] == share) continue;
    ++taken[labels[i]];
    rows.push_back(static_cast<int64_t>(i));
  }
  if (static_cast<int64_t>(rows.size()) < share * num_classes) {
    base::bad_input(
        "{}: expected at least {} images of each of {} classes", source, share, num_classes);
  }
  return rows;
}

std::vector<int64_t> first_rows(int64_t available, int64_t count, const std::string& source) {
  if (available < count) {
    base::bad_input("{}: expected at least {} images, found {}", source, count, available);
  }
  std::vector<int64_t> rows(static_cast<size_t>(count));
  for (int64_t i = 0; i < count; ++i) rows[i] = i;
  return rows;
}

}  // namespace

ReferenceImages read_reference_images(const std::string& path, int64_t count, int64_t num_classes) {
  ReferenceImages reference;
  const std::string file = images_file(path);
  const base::Tensor all_NHW = formats::read_idx(file);
  if (all_NHW.shape().size() != 3) {
    base::bad_input(
        "{}: expected images [N, H, W], found {}", file, base::to_string(all_NHW.shape()));
  }
  reference.files.push_back(file);
  std::vector<int64_t> rows;
  const std::string labels = labels_file(file);
  if (!labels.empty() && count % num_classes == 0) {
    const base::Tensor values = formats::read_idx(labels);
    if (values.shape() != base::Shape{all_NHW.dim(0)}) {
      base::bad_input("{}: expected one label for each of {} images, found {}",
                      labels,
                      all_NHW.dim(0),
                      base::to_string(values.shape()));
    }
    reference.files.push_back(labels);
    rows = balanced_rows(values.as<uint8_t>(), count, num_classes, file);
    reference.selection =
        fmt::format("the first {} of each of {} classes", count / num_classes, num_classes);
  } else {
    rows = first_rows(all_NHW.dim(0), count, file);
    reference.selection = fmt::format("the first {}", count);
  }
  const int64_t size = all_NHW.dim(1) * all_NHW.dim(2);
  reference.images_NHWC =
      base::Tensor(base::DType::kU8, {count, all_NHW.dim(1), all_NHW.dim(2), 1});
  for (int64_t i = 0; i < count; ++i) {
    std::copy_n(all_NHW.as<uint8_t>().begin() + rows[i] * size,
                size,
                reference.images_NHWC.as<uint8_t>().begin() + i * size);
  }
  return reference;
}

void check_classifier(const networks::Classifier& classifier,
                      const std::string& path,
                      const networks::ModelFile& model) {
  const networks::DitConfig& drawn = model.config();
  const networks::ClassifierConfig& judged = classifier.config();
  if (drawn.image_size == judged.image_size && drawn.channels == judged.channels &&
      drawn.num_classes == judged.num_classes) {
    return;
  }
  base::bad_input("{}: judges {} classes of {}x{}x{}, but {} draws {} classes of {}x{}x{}",
                  path,
                  judged.num_classes,
                  judged.image_size,
                  judged.image_size,
                  judged.channels,
                  model.path(),
                  drawn.num_classes,
                  drawn.image_size,
                  drawn.image_size,
                  drawn.channels);
}

Judge::Judge(networks::Classifier& classifier,
             const ReferenceImages& reference,
             int64_t k,
             base::ThreadPool& pool)
    : classifier_(&classifier), k_(k), pool_(&pool), real_count_(reference.images_NHWC.dim(0)) {
  const networks::ClassifierConfig& config = classifier.config();
  const base::Shape expected = {real_count_, config.image_size, config.image_size, config.channels};
  if (reference.images_NHWC.shape() != expected) {
    base::bad_input("{}: the classifier expects images {}, found {}",
                    reference.files.front(),
                    base::to_string(expected),
                    base::to_string(reference.images_NHWC.shape()));
  }
  if (real_count_ <= k) {
    base::bad_input("precision and recall with {} neighbours need more than {} real images", k, k);
  }
  real_features_.resize(static_cast<size_t>(real_count_ * config.feature_size));
  classifier.forward(reference.images_NHWC.as<uint8_t>(), {}, real_features_);
}

Judgement Judge::judge(const base::Tensor& images_NHWC, std::span<const int32_t> wanted) {
  const networks::ClassifierConfig& config = classifier_->config();
  const int64_t count = images_NHWC.dim(0);
  std::vector<float> logits(static_cast<size_t>(count * config.num_classes));
  std::vector<float> features(static_cast<size_t>(count * config.feature_size));
  classifier_->forward(images_NHWC.as<uint8_t>(), logits, features);
  Judgement judgement;
  judgement.classification = metrics::classify(logits, wanted, config.num_classes);
  judgement.manifold = metrics::precision_recall({real_features_, real_count_, config.feature_size},
                                                 {features, count, config.feature_size},
                                                 k_,
                                                 *pool_);
  return judgement;
}

}  // namespace ditmoe::pipeline
