#pragma once

#include <cstddef>
#include <cstdint>

#include "ditmoe/kernels/convolution.h"

namespace ditmoe::kernels {

// How a convolution of one shape is cut into products.
class ConvolutionPlan {
 public:
  // reduced: whether what enters the products is bfloat16.
  ConvolutionPlan(const PackedConvolution& convolution, const MapShape& source, bool reduced);

  MapShape source;
  MapShape result;
  bool reduced = false;
  int64_t element = 0;      // bytes of what enters the products
  int64_t grid_height = 0;  // of the pixels that each phase computes
  int64_t grid_width = 0;
  int64_t stride = 0;  // source pixels from one of the grid to the next
  int64_t step = 0;    // result pixels likewise
  // Neighbours of all phases: from first to last, of source pixel stride · grid.
  int64_t first_y = 0;
  int64_t last_y = 0;
  int64_t first_x = 0;
  int64_t last_x = 0;
  int64_t row_bytes = 0;   // of a gathered neighbourhood
  int64_t tile_rows = 0;   // pixels of a product, about
  int64_t chunk_rows = 0;  // rows of the grid that are gathered from the strip before it moves on

  int64_t strip_width() const { return (grid_width - 1) * stride + last_x - first_x + 1; }

  int64_t strip_height() const { return (chunk_rows - 1) * stride + last_y - first_y + 1; }

  int64_t strip_row_bytes() const { return strip_width() * source.channels * element; }
};

// Computes some rows of a convolution's grid on one thread. The source's rows pass through a strip,
// a ring of as many as one chunk needs, with zeros around them.
class ConvolutionBand {
 public:
  ConvolutionBand(const ConvolutionPlan& plan,
                  const PackedConvolution& convolution,
                  const ConvolutionJob& job,
                  const Matmul& matmul,
                  const MapKernels& kernels,
                  ConvolutionScratch& scratch,
                  int thread);

  // Rows [first, last) of the grid.
  void run(int64_t first, int64_t last);

 private:
  using Phase = PackedConvolution::Phase;

  std::byte* strip_row(int64_t y);
  void load_row(int64_t y);
  void gather(const Phase& phase, const Tile& tile);
  std::byte* gather_shortcut(int64_t pixel, std::byte* dst) const;
  void store(const Phase& phase, const Tile& tile);

  const ConvolutionPlan& plan_;
  const PackedConvolution& convolution_;
  const ConvolutionJob& job_;
  const Matmul& matmul_;
  const MapKernels& kernels_;
  ConvolutionScratch& scratch_;
  int thread_;
};

}  // namespace ditmoe::kernels
