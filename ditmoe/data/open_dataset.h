#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "ditmoe/base/function_ref.h"
#include "ditmoe/data/dataset.h"

namespace ditmoe::data {

// What a recipe says about one data set. Its keys are named as the members are.
struct DataSettings {
  std::string kind = "fashion_mnist";    // one of dataset_kinds()
  std::string folder;                    // of images or latents; Debian's for fashion_mnist
  std::string file;                      // idx: of the images; npz
  std::string labels;                    // idx: the file of the labels
  std::vector<std::string> class_names;  // idx, npz: may name the classes in the order of labels
  std::string split;                     // fashion_mnist: "train", where empty too, or "test"

  // What networks see; 0 takes what the data have. Images of a folder are cropped to image_size,
  // and channels of images, 1 or 3, are made of those there are; anything else has to be so.
  int64_t image_size = 0;  // height and width, in pixels or latents
  int64_t channels = 0;
  int64_t num_classes = 0;  // of idx and npz without names: the highest label + 1

  // How a run uses it.
  int64_t limit = 0;  // only the first images; 0 is all
  double weight = 1;  // its part in a mixture, in any unit
  bool flip = false;  // mirror half of the images, left to right
};

// Names the place of a key for a message: "fashion.toml:12: data.folder".
using KeyPlace = base::FunctionRef<std::string(const std::string& key)>;

// The names of the kinds:
//   fashion_mnist  `folder`           see open_fashion_mnist; `split` says which half
//   idx            `file`, `labels`   see read_idx_images
//   npz            `file`             see read_npz_images
//   image_folder   `folder`           see ImageFolderDataset; image_size has to be given
//   latents        `folder`           see LatentDataset; flip takes the mirror images of the cache
std::vector<std::string> dataset_kinds();

// Checks what can be without looking at files. Throws bad_input that begins with where(key) for an
// unknown kind, a key that the kind needs and has not or has and does not use, and values out of
// range.
void check_settings(const DataSettings& settings, KeyPlace where);

// Checks and opens a data set. seed: of the noise in latents that are Gaussians. Throws bad_input
// that begins with where(key) where the data are not as the settings say, and what its kind does
// for the files. limit and weight are left to who uses the data set, except that of a folder of
// images no more than the first `limit` are opened.
std::unique_ptr<Dataset> open_dataset(const DataSettings& settings, uint64_t seed, KeyPlace where);

}  // namespace ditmoe::data
