#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "ditmoe/data/image_folder.h"
#include "ditmoe/formats/png.h"

namespace ditmoe::data {

// One image of a folder, ready for an encoder, or why it is not.
struct LoadedImage {
  int64_t index = 0;     // in the folder
  formats::Image image;  // [size, size, 3]; empty where there is an error
  std::string error;     // one line that names the file
};

// Reads, decodes and crops (centre_crop) one image. Throws failure naming it for what is no fault
// of it: no memory, too many open files, a disk that fails when it is opened.
LoadedImage load_image(const ImageFolder& folder, int64_t index, int64_t size);

// Reads, decodes and crops the images of a folder on threads of its own, ahead of the
// one who takes them, in the folder's order.
class ImageLoader {
 public:
  // Images [first, last) of folder, which must outlive the loader; at most `ahead` of them wait or
  // are being decoded at any time. size: side in pixels. num_threads, ahead > 0.
  ImageLoader(const ImageFolder& folder,
              int64_t first,
              int64_t last,
              int64_t size,
              int num_threads,
              int64_t ahead);

  // Stops at once; images under way are thrown away.
  ~ImageLoader();
  ImageLoader(const ImageLoader&) = delete;
  ImageLoader& operator=(const ImageLoader&) = delete;

  // The next image, waiting for it; nothing after the last. Images that cannot be read carry their
  // error. Throws as load_image does. From one thread.
  std::optional<LoadedImage> next();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace ditmoe::data
