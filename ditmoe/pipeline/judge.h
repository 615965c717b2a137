#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "ditmoe/base/tensor.h"
#include "ditmoe/base/thread_pool.h"
#include "ditmoe/metrics/classification.h"
#include "ditmoe/metrics/frechet.h"
#include "ditmoe/metrics/precision_recall.h"
#include "ditmoe/networks/classifier.h"
#include "ditmoe/networks/model_file.h"
#include "ditmoe/pipeline/real_images.h"

namespace ditmoe::pipeline {

// Throws bad_input naming the classifier's file unless it judges what the model draws.
void check_classifier(const networks::Classifier& classifier,
                      const std::string& path,
                      const networks::ModelFile& model);

// What a classifier sees in images that come in batches. Starts empty.
struct Observations {
  metrics::Classification classification;
  std::vector<float> features;  // [count, feature_size]
};

// What it makes of them.
struct Judgement {
  metrics::Classification classification;
  metrics::PrecisionRecall manifold;
  double frechet_distance = 0;
};

// Judges images by a classifier: whether they show the class asked for, how well their features
// cover those of real images, and how far their mean and covariance are from those of real images.
class Judge {
 public:
  // compared: the real images of precision and recall; the Fréchet distance is to all of `real`.
  // k: neighbours of precision and recall. classifier and pool must outlive the judge. Throws
  // bad_input where the real images do not fit the classifier or k or fewer are compared.
  Judge(networks::Classifier& classifier,
        const RealImages& real,
        const Selection& compared,
        int64_t k,
        base::ThreadPool& pool);

  // Adds a batch. images_NHWC u8; wanted: the label each is to show, or none where it is not known.
  void observe(const base::Tensor& images_NHWC,
               std::span<const int32_t> wanted,
               Observations& seen) const;

  // Takes more than k images. Time grows with the square of the number of images: distances
  // between all pairs, in f64.
  Judgement judge(const Observations& seen) const;

 private:
  metrics::FeatureMoments moments(std::span<const float> features) const;

  networks::Classifier* classifier_;
  int64_t k_;
  base::ThreadPool* pool_;
  std::vector<float> real_features_;  // of the images compared
  int64_t real_count_;
  metrics::FeatureMoments real_moments_;  // of all
};

}  // namespace ditmoe::pipeline
