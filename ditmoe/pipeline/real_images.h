#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "ditmoe/base/tensor.h"

namespace ditmoe::pipeline {

// Real images of a data set in IDX files, which drawn ones are compared with.
struct RealImages {
  base::Tensor images_NHWC;        // u8
  std::vector<int32_t> labels;     // one per image, or none
  std::vector<std::string> files;  // they come from
};

// Reads all of them: `path` is the file of images, or a folder with <part>-images-idx3-ubyte, where
// part is "t10k" or "train" (.gz or plain). Labels are read where their file stands beside
// ("labels-idx1" for "images-idx3" in the name). Throws bad_input for missing or damaged files,
// and for labels that are not one an image or not below num_classes.
RealImages read_real_images(const std::string& path, const std::string& part, int64_t num_classes);

// Some of the images.
struct Selection {
  std::vector<int64_t> rows;
  std::string words;  // "the first 100 of each of 10 classes", "the first 1000"
};

// As many images of each class, in the file's order, where they have labels and num_classes divides
// count; else the first ones. Throws bad_input for too few images, naming their file.
Selection select_images(const RealImages& real, int64_t count, int64_t num_classes);

// With how many real images `drawn` ones compare best: as many, since precision and recall depend
// on the sizes of both sets, but at least 1000 and at most what there is; a multiple of num_classes
// where there are labels.
int64_t comparable_count(const RealImages& real, int64_t drawn, int64_t num_classes);

// [rows, H, W, C] u8.
base::Tensor gather_images(const RealImages& real, const std::vector<int64_t>& rows);

}  // namespace ditmoe::pipeline
