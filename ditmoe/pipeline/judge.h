#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "ditmoe/base/tensor.h"
#include "ditmoe/base/thread_pool.h"
#include "ditmoe/metrics/classification.h"
#include "ditmoe/metrics/precision_recall.h"
#include "ditmoe/networks/classifier.h"
#include "ditmoe/networks/model_file.h"

namespace ditmoe::pipeline {

// Real images that drawn ones are compared with.
struct ReferenceImages {
  base::Tensor images_NHWC;        // u8
  std::vector<std::string> files;  // they come from
  std::string selection;           // "the first 100 of each of 10 classes", "the first 1000"
};

// Reads `count` images of a data set in IDX files: `path` is the file of images, or a folder with
// t10k-images-idx3-ubyte and t10k-labels-idx1-ubyte (.gz or plain). Where labels stand beside the
// images ("labels-idx1" for "images-idx3" in the name) as many of each class are taken, in the
// file's order; else the first ones. Throws bad_input for missing files or too few images.
ReferenceImages read_reference_images(const std::string& path, int64_t count, int64_t num_classes);

// Throws bad_input naming the classifier's file unless it judges what the model draws.
void check_classifier(const networks::Classifier& classifier,
                      const std::string& path,
                      const networks::ModelFile& model);

// What a classifier makes of drawn images.
struct Judgement {
  metrics::Classification classification;
  metrics::PrecisionRecall manifold;
};

// Judges drawn images by a classifier: whether they show the class asked for, and how well their
// features cover those of real images.
class Judge {
 public:
  // k: neighbours of precision and recall. classifier and pool must outlive the judge. Throws
  // bad_input where the reference images do not fit the classifier or are k or fewer.
  Judge(networks::Classifier& classifier,
        const ReferenceImages& reference,
        int64_t k,
        base::ThreadPool& pool);

  // images_NHWC u8, wanted: the label each was drawn for. More than k images.
  Judgement judge(const base::Tensor& images_NHWC, std::span<const int32_t> wanted);

 private:
  networks::Classifier* classifier_;
  int64_t k_;
  base::ThreadPool* pool_;
  std::vector<float> real_features_;
  int64_t real_count_;
};

}  // namespace ditmoe::pipeline
