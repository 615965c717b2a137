#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "ditmoe/base/tensor.h"
#include "ditmoe/formats/npz.h"
#include "ditmoe/formats/png.h"

#include "tests/formats/idx_bytes.h"
#include "tests/formats/temp_dir.h"

// Small files of images for the tests of data sets.

namespace ditmoe::data::test {

// The bytes 0, 1, 2 ... of an IDX file of this shape.
inline std::string idx_images(const std::vector<uint32_t>& dims) {
  size_t size = 1;
  for (const uint32_t dim : dims) size *= dim;
  std::string bytes = formats::test::idx_header(8, dims);
  for (size_t i = 0; i < size; ++i) bytes += static_cast<char>(i);
  return bytes;
}

inline std::string idx_labels(const std::string& labels) {
  return formats::test::idx_header(8, {static_cast<uint32_t>(labels.size())}) + labels;
}

// A tensor of these whole numbers.
inline base::Tensor whole(base::DType dtype,
                          const base::Shape& shape,
                          const std::vector<float>& values) {
  return base::convert(base::Tensor::from(shape, values).view(), dtype);
}

// A PNG of size x size that is brighter to the right, of a colour that `value` gives.
inline void put_png(const formats::test::TempDir& dir,
                    const std::string& name,
                    int64_t size,
                    uint8_t value) {
  std::filesystem::create_directories(std::filesystem::path(dir.file(name)).parent_path());
  formats::Image image{size, size, 3, {}, {}};
  for (int64_t i = 0; i < size * size; ++i) {
    const auto x = static_cast<uint8_t>(i % size);
    image.pixels_HWC.insert(image.pixels_HWC.end(), {value, static_cast<uint8_t>(value + x), x});
  }
  formats::write_png(dir.file(name), image);
}

}  // namespace ditmoe::data::test
