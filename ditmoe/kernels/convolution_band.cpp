#include "ditmoe/kernels/convolution_band.h"

#include <algorithm>
#include <cstring>

#include "ditmoe/base/error.h"

namespace ditmoe::kernels {
namespace {

using base::BFloat16;

// Gathered rows of one product should stay in the second-level cache, but too few of them read the
// weights too often.
constexpr int64_t kTileBytes = int64_t{512} << 10;
constexpr int64_t kLeastTileRows = 64;
constexpr int64_t kMostTileRows = 128;
static_assert(kMostTileRows * 3 / 2 <= kMaxTileRows);

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

void grow(base::Tensor& memory, int64_t bytes) {
  if (static_cast<int64_t>(memory.bytes()) >= bytes) return;
  memory = base::Tensor();  // before the new one is made
  memory = base::Tensor(base::DType::kU8, {bytes});
}

size_t bytes_of(int64_t count) { return static_cast<size_t>(count); }

}  // namespace

ConvolutionPlan::ConvolutionPlan(const PackedConvolution& convolution,
                                 const MapShape& the_source,
                                 bool is_reduced)
    : source(the_source), result(convolution.result_of(the_source)), reduced(is_reduced) {
  DITMOE_ASSERT(source.channels == convolution.inputs() && result.pixels() > 0);
  element = reduced ? 2 : 4;
  step = convolution.resampling_ == Resampling::kDouble ? 2 : 1;
  stride = convolution.resampling_ == Resampling::kHalve ? 2 : 1;
  grid_height = result.height / step;
  grid_width = result.width / step;
  const PackedConvolution::Phase& first = convolution.phases_.front();
  const PackedConvolution::Phase& last = convolution.phases_.back();
  first_y = first.first_y;
  first_x = first.first_x;
  last_y = last.first_y + last.rows - 1;
  last_x = last.first_x + last.columns - 1;
  row_bytes = first.matrix.inputs() * element;
  tile_rows = std::clamp(kTileBytes / row_bytes, kLeastTileRows, kMostTileRows);
  chunk_rows = std::clamp<int64_t>((tile_rows + grid_width / 2) / grid_width, 1, grid_height);
  const int64_t chunk = chunk_rows * grid_width;
  if (chunk <= tile_rows * 3 / 2) tile_rows = chunk;
}

ConvolutionBand::ConvolutionBand(const ConvolutionPlan& plan,
                                 const PackedConvolution& convolution,
                                 const ConvolutionJob& job,
                                 const Matmul& matmul,
                                 const MapKernels& kernels,
                                 ConvolutionScratch& scratch,
                                 int thread)
    : plan_(plan),
      convolution_(convolution),
      job_(job),
      matmul_(matmul),
      kernels_(kernels),
      scratch_(scratch),
      thread_(thread) {
  grow(scratch.strip, plan.strip_height() * plan.strip_row_bytes());
  grow(scratch.rows, plan.tile_rows * plan.row_bytes);
  grow(scratch.product, plan.tile_rows * plan.result.channels * 4);
}

void ConvolutionBand::run(int64_t first, int64_t last) {
  if (job_.row_sums != nullptr) {
    const int64_t row = 2 * plan_.result.channels;
    std::fill_n(job_.row_sums + first * plan_.step * row, (last - first) * plan_.step * row, 0.0);
  }
  int64_t loaded = first * plan_.stride + plan_.first_y;
  for (int64_t begin = first; begin < last; begin += plan_.chunk_rows) {
    const int64_t end = std::min(begin + plan_.chunk_rows, last);
    const int64_t needed = (end - 1) * plan_.stride + plan_.last_y;
    for (; loaded <= needed; ++loaded) load_row(loaded);
    const int64_t pixels = (end - begin) * plan_.grid_width;
    const auto tiles = split_rows(pixels, ceil_div(pixels, plan_.tile_rows));
    for (const Phase& phase : convolution_.phases_) {
      for (Tile tile : tiles) {
        tile.first += begin * plan_.grid_width;
        gather(phase, tile);
        matmul_.multiply(
            scratch_.rows.data(), tile.rows, phase.matrix, scratch_.product.data(), thread_);
        store(phase, tile);
      }
    }
  }
}

std::byte* ConvolutionBand::strip_row(int64_t y) {
  const int64_t height = plan_.strip_height();
  return scratch_.strip.data() + (y + height) % height * plan_.strip_row_bytes();
}

void ConvolutionBand::load_row(int64_t y) {
  std::byte* dst = strip_row(y);
  const int64_t pixel_bytes = plan_.source.channels * plan_.element;
  if (y < 0 || y >= plan_.source.height) {
    std::memset(dst, 0, bytes_of(plan_.strip_row_bytes()));
    return;
  }
  const int64_t left = -plan_.first_x;
  const int64_t pixels = std::min(plan_.source.width, plan_.strip_width() - left);
  const int64_t right = plan_.strip_width() - left - pixels;
  std::memset(dst, 0, bytes_of(left * pixel_bytes));
  dst += left * pixel_bytes;
  std::memset(dst + pixels * pixel_bytes, 0, bytes_of(right * pixel_bytes));
  const int64_t channels = plan_.source.channels;
  const float* src = job_.source + y * plan_.source.width * channels;
  auto* reduced = reinterpret_cast<BFloat16*>(dst);
  if (job_.affine != nullptr && plan_.reduced) {
    kernels_.apply_bf16(src, *job_.affine, pixels, channels, reduced);
  } else if (job_.affine != nullptr) {
    kernels_.apply_f32(src, *job_.affine, pixels, channels, reinterpret_cast<float*>(dst));
  } else if (plan_.reduced) {
    kernels_.to_bf16(src, pixels * channels, reduced);
  } else {
    std::memcpy(dst, src, bytes_of(pixels * channels * 4));
  }
}

void ConvolutionBand::gather(const Phase& phase, const Tile& tile) {
  const int64_t pixel_bytes = plan_.source.channels * plan_.element;
  const size_t piece = bytes_of(phase.columns * pixel_bytes);
  std::byte* dst = scratch_.rows.data();
  for (int64_t pixel = tile.first; pixel < tile.first + tile.rows; ++pixel) {
    std::byte* const end = dst + plan_.row_bytes;
    const int64_t y = pixel / plan_.grid_width * plan_.stride + phase.first_y;
    const int64_t x = pixel % plan_.grid_width * plan_.stride + phase.first_x - plan_.first_x;
    for (int64_t row = 0; row < phase.rows; ++row) {
      std::memcpy(dst, strip_row(y + row) + x * pixel_bytes, piece);
      dst += piece;
    }
    if (convolution_.shortcut_inputs_ > 0) dst = gather_shortcut(pixel, dst);
    std::memset(dst, 0, static_cast<size_t>(end - dst));
    dst = end;
  }
}

std::byte* ConvolutionBand::gather_shortcut(int64_t pixel, std::byte* dst) const {
  const int64_t channels = convolution_.shortcut_inputs_;
  const float* src = job_.shortcut + pixel * channels;
  if (plan_.reduced) {
    kernels_.to_bf16(src, channels, reinterpret_cast<BFloat16*>(dst));
  } else {
    std::memcpy(dst, src, bytes_of(channels * 4));
  }
  return dst + channels * plan_.element;
}

void ConvolutionBand::store(const Phase& phase, const Tile& tile) {
  const int64_t channels = plan_.result.channels;
  const auto* product = reinterpret_cast<const float*>(scratch_.product.data());
  int64_t pixel = tile.first;
  while (pixel < tile.first + tile.rows) {
    const int64_t x = pixel % plan_.grid_width;
    const int64_t count = std::min(plan_.grid_width - x, tile.first + tile.rows - pixel);
    const int64_t row = pixel / plan_.grid_width * plan_.step + phase.y_offset;
    const int64_t place = (row * plan_.result.width + x * plan_.step + phase.x_offset) * channels;
    kernels_.store(product + (pixel - tile.first) * channels,
                   job_.residual != nullptr ? job_.residual + place : nullptr,
                   count,
                   channels,
                   plan_.step * channels,
                   job_.result + place,
                   job_.row_sums != nullptr ? job_.row_sums + row * 2 * channels : nullptr);
    pixel += count;
  }
}

}  // namespace ditmoe::kernels
