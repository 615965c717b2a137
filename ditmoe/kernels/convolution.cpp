#include "ditmoe/kernels/convolution.h"

#include <algorithm>

#include "ditmoe/base/error.h"
#include "ditmoe/kernels/convolution_band.h"

namespace ditmoe::kernels {
namespace {

// Gathered rows begin at cache lines in either type.
constexpr int64_t kInputsMultiple = 32;

// Bands for each thread, so that one which is held up leaves work to the others.
constexpr int64_t kBandsPerThread = 8;

int64_t round_up(int64_t count, int64_t multiple) {
  return (count + multiple - 1) / multiple * multiple;
}

// Rows (or columns) of a kernel whose weights are added up, since they meet the same source pixel.
struct Taps {
  int64_t first = 0;
  int64_t count = 1;
};

// Enlarged twofold, the three rows that meet an even row of the result are source rows y - 1, y and
// y; those that meet an odd one are y, y and y + 1.
std::vector<Taps> taps_of(int64_t kernel, Resampling resampling, int64_t offset) {
  if (resampling == Resampling::kDouble) {
    return offset == 0 ? std::vector<Taps>{{0, 1}, {1, 2}} : std::vector<Taps>{{0, 2}, {2, 1}};
  }
  std::vector<Taps> taps;
  for (int64_t tap = 0; tap < kernel; ++tap) taps.push_back({tap, 1});
  return taps;
}

// [outputs, rows · columns · inputs + shortcut inputs, zeros]
base::Tensor matrix_of(const ConvolutionWeights& weights,
                       const std::vector<Taps>& rows,
                       const std::vector<Taps>& columns) {
  const base::Shape& shape = weights.weight.shape;
  const int64_t kernel = shape[2];
  const int64_t inputs = shape[1];
  const int64_t shortcut = weights.shortcut.data != nullptr ? weights.shortcut.shape[1] : 0;
  const auto taps = static_cast<int64_t>(rows.size() * columns.size());
  const int64_t width = round_up(taps * inputs + shortcut, kInputsMultiple);
  base::Tensor matrix(base::DType::kF32, {shape[0], width});
  const float* src = weights.weight.as<float>().data();
  float* row = matrix.as<float>().data();
  for (int64_t output = 0; output < shape[0]; ++output, row += width) {
    float* dst = row;
    for (const Taps& y : rows) {
      for (const Taps& x : columns) {
        for (int64_t input = 0; input < inputs; ++input) {
          const float* plane = src + (output * inputs + input) * kernel * kernel;
          double sum = 0.0;
          for (int64_t i = y.first; i < y.first + y.count; ++i) {
            for (int64_t j = x.first; j < x.first + x.count; ++j) sum += plane[i * kernel + j];
          }
          *dst++ = static_cast<float>(sum);
        }
      }
    }
    if (shortcut > 0) {
      std::copy_n(weights.shortcut.as<float>().data() + output * shortcut, shortcut, dst);
    }
  }
  return matrix;
}

std::vector<float> bias_of(const ConvolutionWeights& weights) {
  std::vector<float> bias(static_cast<size_t>(weights.weight.shape[0]));
  for (size_t i = 0; i < bias.size(); ++i) {
    if (weights.bias != nullptr) bias[i] += weights.bias[i];
    if (weights.shortcut_bias != nullptr) bias[i] += weights.shortcut_bias[i];
  }
  return bias;
}

}  // namespace

MapShape PackedConvolution::result_of(const MapShape& source) const {
  switch (resampling_) {
    case Resampling::kNone:
      return {source.height, source.width, outputs_};
    case Resampling::kHalve:
      return {source.height / 2, source.width / 2, outputs_};
    case Resampling::kDouble:
      return {2 * source.height, 2 * source.width, outputs_};
  }
  DITMOE_ASSERT(false);
}

Convolutions::Convolutions(base::ThreadPool& pool, base::Isa isa)
    : pool_(pool),
      matmul_(pool.size(), isa),
      kernels_(map_kernels(isa)),
      scratch_(static_cast<size_t>(pool.size())) {}

PackedConvolution Convolutions::pack(const ConvolutionWeights& weights,
                                     Precision precision,
                                     base::Arena& arena) {
  const base::Shape& shape = weights.weight.shape;
  const bool plain = weights.resampling == Resampling::kNone;
  DITMOE_ASSERT(precision != Precision::kInt8 && shape.size() == 4 && shape[2] == shape[3]);
  DITMOE_ASSERT(shape[2] == 3 || (shape[2] == 1 && plain));
  DITMOE_ASSERT(weights.shortcut.data == nullptr || plain);
  PackedConvolution packed;
  packed.outputs_ = shape[0];
  packed.inputs_ = shape[1];
  packed.kernel_ = shape[2];
  packed.resampling_ = weights.resampling;
  packed.shortcut_inputs_ = weights.shortcut.data != nullptr ? weights.shortcut.shape.at(1) : 0;
  const std::vector<float> bias = bias_of(weights);
  const int64_t phases = weights.resampling == Resampling::kDouble ? 2 : 1;
  for (int64_t y = 0; y < phases; ++y) {
    for (int64_t x = 0; x < phases; ++x) {
      const auto rows = taps_of(packed.kernel_, weights.resampling, y);
      const auto columns = taps_of(packed.kernel_, weights.resampling, x);
      const base::Tensor matrix = matrix_of(weights, rows, columns);
      PackedConvolution::Phase phase;
      phase.matrix = matmul_.pack(matrix.view(), bias.data(), precision, arena);
      phase.rows = static_cast<int64_t>(rows.size());
      phase.columns = static_cast<int64_t>(columns.size());
      const int64_t border = weights.resampling == Resampling::kHalve ? 0 : packed.kernel_ / 2;
      phase.first_y = y - border;
      phase.first_x = x - border;
      phase.y_offset = y;
      phase.x_offset = x;
      packed.phases_.push_back(phase);
    }
  }
  return packed;
}

void Convolutions::run(const PackedConvolution& convolution, const ConvolutionJob& job) {
  DITMOE_ASSERT((job.shortcut != nullptr) == (convolution.shortcut_inputs_ > 0));
  const Precision computed = matmul_.computed(convolution.phases_.front().matrix.precision());
  const ConvolutionPlan plan(convolution, job.shape, computed == Precision::kBf16);
  // Whole chunks, so that few heights of tiles occur: each is a product to compile.
  const int64_t even = plan.grid_height / (kBandsPerThread * pool_.size());
  int64_t rows = std::max<int64_t>(1, even / plan.chunk_rows) * plan.chunk_rows;
  if (band_limit_ > 0) rows = std::min(rows, band_limit_);
  const int64_t bands = (plan.grid_height + rows - 1) / rows;
  pool_.run(bands, [&](int64_t band, int thread) {
    ConvolutionScratch& scratch = scratch_[static_cast<size_t>(thread)];
    ConvolutionBand(plan, convolution, job, matmul_, kernels_, scratch, thread)
        .run(band * rows, std::min((band + 1) * rows, plan.grid_height));
  });
}

}  // namespace ditmoe::kernels
