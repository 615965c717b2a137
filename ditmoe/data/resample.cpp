#include "ditmoe/data/resample.h"

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "ditmoe/base/error.h"

namespace ditmoe::data {
namespace {

// A sum of 255 times weights whose magnitudes sum to less than 2 fits into 32 bits.
constexpr int kWeightBits = 22;
constexpr int32_t kHalf = 1 << (kWeightBits - 1);

double support_of(Filter filter) { return filter == Filter::kBox ? 0.5 : 2.0; }

double box(double x) { return x > -0.5 && x <= 0.5 ? 1.0 : 0.0; }

// The polynomials are evaluated as Pillow does: another order rounds differently.
double bicubic(double x) {
  constexpr double a = -0.5;
  x = std::abs(x);
  if (x < 1.0) return ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0;
  if (x < 2.0) return (((x - 5.0) * x + 8.0) * x - 4.0) * a;
  return 0.0;
}

// Where outputs [first, first + count) of one axis come from.
struct Taps {
  std::vector<int64_t> begin;                // of each output's inputs
  std::vector<std::vector<int32_t>> weight;  // of each output's inputs

  size_t size() const { return begin.size(); }

  // The inputs that any output needs.
  std::pair<int64_t, int64_t> range() const {
    int64_t last = 0;
    for (size_t i = 0; i < size(); ++i) {
      last = std::max(last, begin[i] + static_cast<int64_t>(weight[i].size()));
    }
    return {*std::min_element(begin.begin(), begin.end()), last};
  }
};

int32_t fixed_point(double weight) {
  const double scaled = weight * (1 << kWeightBits);
  return static_cast<int32_t>(weight < 0 ? scaled - 0.5 : scaled + 0.5);
}

Taps make_taps(int64_t in_size, int64_t out_size, Filter filter, int64_t first, int64_t count) {
  const double scale = static_cast<double>(in_size) / static_cast<double>(out_size);
  const double filter_scale = std::max(scale, 1.0);
  const double support = support_of(filter) * filter_scale;
  const double inverse = 1.0 / filter_scale;
  Taps taps;
  std::vector<double> exact;
  for (int64_t out = first; out < first + count; ++out) {
    const double centre = (static_cast<double>(out) + 0.5) * scale;
    const int64_t begin = std::max(static_cast<int64_t>(centre - support + 0.5), int64_t{0});
    const int64_t end = std::min(static_cast<int64_t>(centre + support + 0.5), in_size);
    exact.clear();
    double sum = 0;
    for (int64_t in = begin; in < end; ++in) {
      const double x = (static_cast<double>(in) - centre + 0.5) * inverse;
      exact.push_back(filter == Filter::kBox ? box(x) : bicubic(x));
      sum += exact.back();
    }
    taps.begin.push_back(begin);
    std::vector<int32_t>& weights = taps.weight.emplace_back();
    for (const double weight : exact) {
      weights.push_back(fixed_point(sum != 0 ? weight / sum : weight));
    }
  }
  return taps;
}

uint8_t clip(int32_t sum) {
  return static_cast<uint8_t>(std::clamp(sum >> kWeightBits, int32_t{0}, int32_t{255}));
}

template <int kChannels>
void resample_row(const uint8_t* src, const Taps& taps, uint8_t* dst) {
  for (size_t out = 0; out < taps.size(); ++out) {
    const uint8_t* pixel = src + taps.begin[out] * kChannels;
    int32_t sums[kChannels];
    std::fill(sums, sums + kChannels, kHalf);
    for (const int32_t weight : taps.weight[out]) {
      for (int c = 0; c < kChannels; ++c) sums[c] += pixel[c] * weight;
      pixel += kChannels;
    }
    for (int c = 0; c < kChannels; ++c) *dst++ = clip(sums[c]);
  }
}

// Rows [first, last) of the image, each resampled.
formats::Image resample_rows(const formats::Image& image,
                             const Taps& taps,
                             int64_t first,
                             int64_t last) {
  formats::Image result;
  result.width = static_cast<int64_t>(taps.size());
  result.height = last - first;
  result.channels = image.channels;
  const int64_t src_bytes = image.width * image.channels;
  const int64_t dst_bytes = result.width * result.channels;
  result.pixels_HWC.resize(static_cast<size_t>(dst_bytes * result.height));
  for (int64_t y = 0; y < result.height; ++y) {
    const uint8_t* src = image.pixels_HWC.data() + (first + y) * src_bytes;
    uint8_t* dst = result.pixels_HWC.data() + y * dst_bytes;
    if (image.channels == 3) {
      resample_row<3>(src, taps, dst);
    } else if (image.channels == 1) {
      resample_row<1>(src, taps, dst);
    } else {
      resample_row<4>(src, taps, dst);
    }
  }
  return result;
}

// The image's row y is row first_row + y of what the taps refer to.
formats::Image resample_columns(const formats::Image& image, const Taps& taps, int64_t first_row) {
  formats::Image result;
  result.width = image.width;
  result.height = static_cast<int64_t>(taps.size());
  result.channels = image.channels;
  const auto row_bytes = static_cast<size_t>(image.width * image.channels);
  result.pixels_HWC.resize(row_bytes * taps.size());
  std::vector<int32_t> sums(row_bytes);
  for (size_t out = 0; out < taps.size(); ++out) {
    std::fill(sums.begin(), sums.end(), kHalf);
    const uint8_t* src =
        image.pixels_HWC.data() + static_cast<size_t>(taps.begin[out] - first_row) * row_bytes;
    for (const int32_t weight : taps.weight[out]) {
      for (size_t i = 0; i < row_bytes; ++i) sums[i] += src[i] * weight;
      src += row_bytes;
    }
    uint8_t* dst = result.pixels_HWC.data() + out * row_bytes;
    for (size_t i = 0; i < row_bytes; ++i) dst[i] = clip(sums[i]);
  }
  return result;
}

formats::Image cut(const formats::Image& image, const Window& window) {
  formats::Image result;
  result.width = window.width;
  result.height = window.height;
  result.channels = image.channels;
  const int64_t row_bytes = window.width * image.channels;
  for (int64_t y = window.y; y < window.y + window.height; ++y) {
    const auto row = image.pixels_HWC.begin() + (y * image.width + window.x) * image.channels;
    result.pixels_HWC.insert(result.pixels_HWC.end(), row, row + row_bytes);
  }
  return result;
}

}  // namespace

formats::Image resize(const formats::Image& image,
                      int64_t width,
                      int64_t height,
                      Filter filter,
                      const Window& window) {
  DITMOE_ASSERT(window.x >= 0 && window.width > 0 && window.x + window.width <= width);
  DITMOE_ASSERT(window.y >= 0 && window.height > 0 && window.y + window.height <= height);
  DITMOE_ASSERT(image.width > 0 && image.height > 0 && image.channels > 0 && image.channels <= 4);
  // Pillow passes over an axis whose size stays.
  const bool keeps_rows = height == image.height;
  Taps columns;
  std::pair<int64_t, int64_t> rows = {window.y, window.y + window.height};
  if (!keeps_rows) {
    columns = make_taps(image.height, height, filter, window.y, window.height);
    rows = columns.range();
  }
  formats::Image wide;
  if (width == image.width) {
    wide = cut(image, {window.x, rows.first, window.width, rows.second - rows.first});
  } else {
    const Taps taps = make_taps(image.width, width, filter, window.x, window.width);
    wide = resample_rows(image, taps, rows.first, rows.second);
  }
  return keeps_rows ? wide : resample_columns(wide, columns, rows.first);
}

}  // namespace ditmoe::data
