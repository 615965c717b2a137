#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "ditmoe/base/tensor.h"
#include "ditmoe/formats/png.h"

namespace ditmoe::pipeline {

// How images are laid out in a contact sheet.
struct GridLayout {
  int64_t columns = 0;                  // 0: as square as possible
  int64_t scale = 1;                    // each pixel becomes scale × scale
  int64_t gap = 2;                      // background pixels between and around images
  std::vector<std::string> row_labels;  // drawn left of the rows; empty for none
  std::vector<std::string> captions;    // drawn below each image, cut to its width; empty for none
  std::vector<int64_t> cells;           // the image in each cell, row by row, -1 for an empty one;
                                        // empty: all images in order
};

// One picture of many: images_NHWC u8 with 1 or 3 channels, black text on white.
// Throws bad_input for a number of channels a picture cannot show.
formats::Image make_grid(const base::Tensor& images_NHWC, const GridLayout& layout);

// A layout that tells the labels: a row per label, named at its left; or, where each label has one
// image, a square sheet with captions; or a plain sheet of one label. names[i] names labels[i].
GridLayout layout_by_label(std::span<const int32_t> labels, const std::vector<std::string>& names);

// Smallest scale that shows an image at least 96 pixels high.
int64_t comfortable_scale(int64_t image_size);

}  // namespace ditmoe::pipeline
