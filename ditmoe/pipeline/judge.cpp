#include "ditmoe/pipeline/judge.h"

#include <algorithm>
#include <functional>

namespace ditmoe::pipeline {

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
             const RealImages& real,
             const Selection& compared,
             int64_t k,
             base::ThreadPool& pool)
    : classifier_(&classifier),
      k_(k),
      pool_(&pool),
      real_count_(static_cast<int64_t>(compared.rows.size())) {
  const networks::ClassifierConfig& config = classifier.config();
  const int64_t count = real.images_NHWC.dim(0);
  const base::Shape expected = {count, config.image_size, config.image_size, config.channels};
  if (real.images_NHWC.shape() != expected) {
    base::bad_input("{}: the classifier expects images {}, found {}",
                    real.files.front(),
                    base::to_string(expected),
                    base::to_string(real.images_NHWC.shape()));
  }
  if (real_count_ <= k) {
    base::bad_input("precision and recall with {} neighbours need more than {} real images", k, k);
  }
  const int64_t size = config.feature_size;
  std::vector<float> features(static_cast<size_t>(count * size));
  classifier.forward(real.images_NHWC.as<uint8_t>(), {}, features);
  real_moments_ = moments(features);
  real_features_.reserve(static_cast<size_t>(real_count_ * size));
  for (const int64_t row : compared.rows) {
    const auto values = std::span(features).subspan(row * size, size);
    real_features_.insert(real_features_.end(), values.begin(), values.end());
  }
}

metrics::FeatureMoments Judge::moments(std::span<const float> features) const {
  const int64_t size = classifier_->config().feature_size;
  metrics::FeatureStatistics statistics(size);
  statistics.add({features, static_cast<int64_t>(features.size()) / size, size});
  return statistics.finish();
}

void Judge::observe(const base::Tensor& images_NHWC,
                    std::span<const int32_t> wanted,
                    Observations& seen) const {
  const networks::ClassifierConfig& config = classifier_->config();
  const auto count = static_cast<size_t>(images_NHWC.dim(0));
  const auto feature_size = static_cast<size_t>(config.feature_size);
  const size_t before = seen.features.size();
  std::vector<float> logits(count * static_cast<size_t>(config.num_classes));
  seen.features.resize(before + count * feature_size);
  classifier_->forward(images_NHWC.as<uint8_t>(), logits, std::span(seen.features).subspan(before));
  if (wanted.empty()) logits.clear();
  const auto classification = metrics::classify(logits, wanted, config.num_classes);
  seen.classification.num_classes = config.num_classes;
  seen.classification.confusion.resize(classification.confusion.size());
  std::ranges::transform(classification.confusion,
                         seen.classification.confusion,
                         seen.classification.confusion.begin(),
                         std::plus<>());
}

Judgement Judge::judge(const Observations& seen) const {
  const int64_t size = classifier_->config().feature_size;
  const auto count = static_cast<int64_t>(seen.features.size()) / size;
  Judgement judgement;
  judgement.classification = seen.classification;
  judgement.manifold = metrics::precision_recall(
      {real_features_, real_count_, size}, {seen.features, count, size}, k_, *pool_);
  judgement.frechet_distance = metrics::frechet_distance(real_moments_, moments(seen.features));
  return judgement;
}

}  // namespace ditmoe::pipeline
