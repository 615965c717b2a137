#pragma once

#include <string>
#include <vector>

#include "ditmoe/base/tensor.h"
#include "ditmoe/formats/png.h"

namespace ditmoe::pipeline {

// How images are laid out in a contact sheet.
struct GridLayout {
  int64_t columns = 0;                  // 0: as square as possible
  int64_t scale = 1;                    // each pixel becomes scale × scale
  int64_t gap = 2;                      // background pixels between images
  std::vector<std::string> row_labels;  // drawn left of the rows; empty for none
};

// One picture of many: images_NHWC u8 with 1 or 3 channels, row by row.
formats::Image make_grid(const base::Tensor& images_NHWC, const GridLayout& layout);

}  // namespace ditmoe::pipeline
