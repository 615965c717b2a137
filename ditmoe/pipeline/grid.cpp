#include "ditmoe/pipeline/grid.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>

#include "ditmoe/pipeline/bitmap_font.h"

namespace ditmoe::pipeline {
namespace {

constexpr uint8_t kBackground = 255;
constexpr uint8_t kInk = 0;
constexpr int64_t kComfortableHeight = 96;

// Where everything stands, in pixels.
struct Geometry {
  int64_t columns = 0;
  int64_t rows = 0;
  int64_t cell_height = 0;  // the image and its caption
  int64_t cell_width = 0;
  int64_t text_scale = 1;
  int64_t left = 0;  // of the first column: room for row labels
  int64_t gap = 0;

  int64_t x(int64_t column) const { return left + column * (cell_width + gap); }

  int64_t y(int64_t row) const { return gap + row * (cell_height + gap); }
};

Geometry plan(int64_t height, int64_t width, int64_t num_cells, const GridLayout& layout) {
  Geometry geometry;
  geometry.columns = layout.columns;
  if (geometry.columns <= 0) {
    geometry.columns = static_cast<int64_t>(std::ceil(std::sqrt(static_cast<double>(num_cells))));
  }
  geometry.columns = std::max<int64_t>(1, std::min(geometry.columns, num_cells));
  geometry.rows = (num_cells + geometry.columns - 1) / geometry.columns;
  geometry.gap = layout.gap;
  geometry.cell_width = width * layout.scale;
  geometry.cell_height = height * layout.scale;
  geometry.left = layout.gap;
  // Row labels grow with the images; captions stay small because they must fit under one.
  if (!layout.row_labels.empty()) {
    geometry.text_scale = std::clamp<int64_t>(geometry.cell_height / 48, 1, 4);
    int64_t widest = 0;
    for (const std::string& label : layout.row_labels) {
      widest = std::max(widest, text_width(label) * geometry.text_scale);
    }
    geometry.left += widest + 2 * kGlyphAdvance * geometry.text_scale;  // a space on either side
  }
  if (!layout.captions.empty()) geometry.cell_height += kGlyphHeight + 4;
  return geometry;
}

void draw_text(formats::Image& image, std::string_view text, int64_t x, int64_t y, int64_t scale) {
  for (const char character : text) {
    const auto& rows = glyph(character);
    for (int64_t row = 0; row < kGlyphHeight * scale; ++row) {
      for (int64_t column = 0; column < kGlyphWidth * scale; ++column) {
        if ((rows[row / scale] >> (kGlyphWidth - 1 - column / scale) & 1) == 0) continue;
        const int64_t pixel = (y + row) * image.width + x + column;
        std::fill_n(image.pixels_HWC.begin() + pixel * image.channels, image.channels, kInk);
      }
    }
    x += kGlyphAdvance * scale;
  }
}

// Copies image number `index` to (x, y), each pixel scale × scale.
void draw_image(formats::Image& target,
                const base::Tensor& images_NHWC,
                int64_t index,
                int64_t x,
                int64_t y,
                int64_t scale) {
  const int64_t height = images_NHWC.dim(1);
  const int64_t width = images_NHWC.dim(2);
  const int64_t channels = images_NHWC.dim(3);
  const uint8_t* source = images_NHWC.as<uint8_t>().data() + index * height * width * channels;
  for (int64_t row = 0; row < height * scale; ++row) {
    for (int64_t column = 0; column < width * scale; ++column) {
      const uint8_t* pixel = source + (row / scale * width + column / scale) * channels;
      std::copy_n(pixel,
                  channels,
                  target.pixels_HWC.begin() + ((y + row) * target.width + x + column) * channels);
    }
  }
}

void draw_row_labels(formats::Image& image, const Geometry& geometry, const GridLayout& layout) {
  const int64_t text_height = kGlyphHeight * geometry.text_scale;
  const int64_t rows =
      std::min<int64_t>(geometry.rows, static_cast<int64_t>(layout.row_labels.size()));
  for (int64_t row = 0; row < rows; ++row) {
    const std::string& label = layout.row_labels[row];
    const int64_t right = geometry.left - kGlyphAdvance * geometry.text_scale;
    draw_text(image,
              label,
              right - text_width(label) * geometry.text_scale,
              geometry.y(row) + std::max<int64_t>(0, (geometry.cell_height - text_height) / 2),
              geometry.text_scale);
  }
}

void draw_caption(formats::Image& image, std::string text, int64_t x, int64_t y, int64_t width) {
  text.resize(std::min<size_t>(text.size(), static_cast<size_t>((width + 1) / kGlyphAdvance)));
  draw_text(image, text, x + (width - text_width(text)) / 2, y, 1);
}

}  // namespace

formats::Image make_grid(const base::Tensor& images_NHWC, const GridLayout& layout) {
  const int64_t channels = images_NHWC.dim(3);
  if (channels != 1 && channels != 3) {
    base::bad_input("a picture has 1 or 3 channels, these images have {}", channels);
  }
  std::vector<int64_t> cells = layout.cells;
  if (cells.empty()) {
    cells.resize(static_cast<size_t>(images_NHWC.dim(0)));
    std::iota(cells.begin(), cells.end(), 0);
  }
  const Geometry geometry =
      plan(images_NHWC.dim(1), images_NHWC.dim(2), static_cast<int64_t>(cells.size()), layout);
  formats::Image image;
  image.channels = channels;
  image.width = geometry.x(geometry.columns);
  image.height = geometry.y(geometry.rows);
  if (!layout.row_labels.empty()) {
    // Labels may be taller than tiny images.
    image.height = std::max(image.height,
                            geometry.y(geometry.rows - 1) + kGlyphHeight * geometry.text_scale + 1);
  }
  image.pixels_HWC.assign(image.width * image.height * channels, kBackground);
  for (size_t cell = 0; cell < cells.size(); ++cell) {
    if (cells[cell] < 0) continue;
    const int64_t x = geometry.x(static_cast<int64_t>(cell) % geometry.columns);
    const int64_t y = geometry.y(static_cast<int64_t>(cell) / geometry.columns);
    draw_image(image, images_NHWC, cells[cell], x, y, layout.scale);
    if (!layout.captions.empty()) {
      draw_caption(image,
                   layout.captions[cells[cell]],
                   x,
                   y + images_NHWC.dim(1) * layout.scale + 2,
                   geometry.cell_width);
    }
  }
  draw_row_labels(image, geometry, layout);
  return image;
}

GridLayout layout_by_label(std::span<const int32_t> labels, const std::vector<std::string>& names) {
  DITMOE_ASSERT(labels.size() == names.size());
  std::vector<int32_t> order;  // of first appearance
  std::map<int32_t, std::vector<int64_t>> members;
  for (size_t i = 0; i < labels.size(); ++i) {
    if (!members.contains(labels[i])) order.push_back(labels[i]);
    members[labels[i]].push_back(static_cast<int64_t>(i));
  }
  GridLayout layout;
  if (order.size() < 2) return layout;
  size_t columns = 0;
  for (const auto& [label, images] : members) columns = std::max(columns, images.size());
  if (columns == 1) {
    layout.captions = names;
    return layout;
  }
  layout.columns = static_cast<int64_t>(columns);
  for (const int32_t label : order) {
    std::vector<int64_t>& row = members[label];
    layout.row_labels.push_back(names[row.front()]);
    row.resize(columns, -1);
    layout.cells.insert(layout.cells.end(), row.begin(), row.end());
  }
  return layout;
}

int64_t comfortable_scale(int64_t image_size) {
  return (kComfortableHeight + image_size - 1) / image_size;
}

}  // namespace ditmoe::pipeline
