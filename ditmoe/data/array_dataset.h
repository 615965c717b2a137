#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "ditmoe/data/dataset.h"

namespace ditmoe::data {

// Images kept in memory, with as many labels, each below class_names.size(), or it is a bug.
// channels: 1 or 3, see scale_pixels.
std::unique_ptr<Dataset> make_array_dataset(LabelledImages contents,
                                            std::vector<std::string> class_names,
                                            int64_t channels);

// Readers of whole files. They throw bad_input naming the file for what is damaged or missing,
// images that are not u8 [N, H, W] or [N, H, W, C] with C 1 or 3, files without images, another
// number of labels, and labels that are no whole numbers in [0, 2^24).

// Images and labels in IDX files, gzip'd or plain.
LabelledImages read_idx_images(const std::string& images_path, const std::string& labels_path);

// Images in the array `images` or `arr_0` of an npz file, labels in `labels`, `y` or `arr_1`, the
// first of these names that it has.
LabelledImages read_npz_images(const std::string& path);

// Throws bad_input naming path and the first label that is not below num_classes.
void check_labels(std::span<const int32_t> labels, int64_t num_classes, const std::string& path);

}  // namespace ditmoe::data
