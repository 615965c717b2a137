#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "ditmoe/base/tensor.h"
#include "ditmoe/networks/model_file.h"
#include "ditmoe/pipeline/settings.h"

namespace ditmoe::apps {

// Where samples go, decided by the name: x.png is one picture of all images, x.npz arrays, x/ (or
// an existing folder, which must be empty) one PNG per image.
class SampleOutput {
 public:
  enum class Kind { kPicture, kArrays, kFolder };

  // Of what is written: the model's own images, or what an autoencoder makes of them.
  struct ImageShape {
    int64_t channels = 0;
    int64_t size = 0;  // height and width
  };

  // Throws bad_input before anything is computed if the name tells no kind, if the images do not
  // fit the kind, or if nothing can be written there.
  SampleOutput(std::string path, const networks::ModelFile& model, const ImageShape& image);

  Kind kind() const { return kind_; }

  const std::string& path() const { return path_; }

  // Refuses what would not fit into one picture at the scale and columns of the settings.
  void check_size(const pipeline::PictureSettings& settings) const;

  // Writes images [N, C, H, W], whole or not at all: into a folder that existed, which may be a
  // mount point or somebody's current folder, the files are moved when all are written, labels.csv
  // last. A picture carries the settings, a folder's files each their own.
  void write(const base::Tensor& images_NCHW, const pipeline::PictureSettings& settings) const;

 private:
  void write_picture(const base::Tensor& images_NCHW,
                     const pipeline::PictureSettings& settings) const;
  void write_arrays(const base::Tensor& images_NCHW,
                    const pipeline::PictureSettings& settings) const;
  void write_folder(const base::Tensor& images_NCHW,
                    const pipeline::PictureSettings& settings) const;
  std::string name_of(int32_t label) const;

  std::string path_;
  Kind kind_ = Kind::kPicture;
  networks::ModelFile model_;
  ImageShape image_;
};

}  // namespace ditmoe::apps
