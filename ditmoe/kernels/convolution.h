#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "ditmoe/base/arena.h"
#include "ditmoe/base/tensor.h"
#include "ditmoe/base/thread_pool.h"
#include "ditmoe/kernels/map_kernels.h"
#include "ditmoe/kernels/map_shape.h"
#include "ditmoe/kernels/matmul.h"

namespace ditmoe::kernels {

// How large the result is.
enum class Resampling {
  kNone,    // as the source, which has a border of (k - 1) / 2 zeros
  kHalve,   // every other pixel, of a source with a row of zeros below and a column at its right
  kDouble,  // of the source enlarged twofold, each pixel repeated, with a border of zeros
};

// A convolution as files have it.
struct ConvolutionWeights {
  base::TensorView weight;      // F32 [outputs, inputs, k, k], k 1 or 3; 3 unless kNone
  const float* bias = nullptr;  // [outputs]
  Resampling resampling = Resampling::kNone;
  // A 1x1 convolution of another map, whose result is added: F32 [outputs, shortcut inputs, 1, 1]
  // and [outputs]; kNone only. Without data there is none.
  base::TensorView shortcut;
  const float* shortcut_bias = nullptr;
};

// Convolution weights as products take them. Refers to memory of an arena that must outlive it.
class PackedConvolution {
 public:
  int64_t inputs() const { return inputs_; }

  int64_t outputs() const { return outputs_; }

  int64_t shortcut_inputs() const { return shortcut_inputs_; }

  MapShape result_of(const MapShape& source) const;

 private:
  friend class Convolutions;
  friend class ConvolutionBand;
  friend class ConvolutionPlan;

  // Pixels (step · y + y_offset, step · x + x_offset) of the result, for each y and x of a grid:
  // products of the rows x columns of the source that begin at (stride · y + first_y,
  // stride · x + first_x).
  struct Phase {
    PackedMatrix matrix;  // [outputs, rows · columns · inputs + shortcut inputs, zeros]
    int64_t rows = 0;
    int64_t columns = 0;
    int64_t first_y = 0;
    int64_t first_x = 0;
    int64_t y_offset = 0;
    int64_t x_offset = 0;
  };

  int64_t inputs_ = 0;
  int64_t outputs_ = 0;
  int64_t shortcut_inputs_ = 0;
  int64_t kernel_ = 0;
  Resampling resampling_ = Resampling::kNone;
  std::vector<Phase> phases_;
};

// One convolution to compute.
struct ConvolutionJob {
  const float* source = nullptr;
  MapShape shape;                         // of the source
  const ChannelAffine* affine = nullptr;  // applied to the source first, unless nullptr
  const float* shortcut = nullptr;        // map as large as the result, where weights have one
  const float* residual = nullptr;        // added, shaped as the result; may be result
  float* result = nullptr;
  double* row_sums = nullptr;  // of the result, see group_norm.h; or nullptr
};

// Working memory of one thread.
struct ConvolutionScratch {
  base::Tensor strip;    // rows of the source, as products take them
  base::Tensor rows;     // gathered neighbourhoods
  base::Tensor product;  // what becomes of them
};

// Convolutions of maps as products: a tile of pixels with their neighbourhoods, each a row, by the
// packed weights. The neighbourhoods are gathered from a few rows at a time, normalised and rounded
// for that, so that neither a normalised nor an enlarged map ever exists. Convolving a map enlarged
// twofold takes four products of 2x2 neighbourhoods of the map itself, whose weights are sums of
// the 3x3: 4/9 of the work. Each pixel's bits depend on its neighbourhood alone: not on how rows
// are shared out, nor on the number of threads.
class Convolutions {
 public:
  // pool must outlive the object; isa must be one the CPU has.
  explicit Convolutions(base::ThreadPool& pool, base::Isa isa = base::chosen_isa());
  Convolutions(const Convolutions&) = delete;
  Convolutions& operator=(const Convolutions&) = delete;

  // Packs weights into arena: F32, or rounded to BF16. Maps and sums stay f32; in bf16, what enters
  // a product is rounded.
  PackedConvolution pack(const ConvolutionWeights& weights,
                         Precision precision,
                         base::Arena& arena);

  // Computes on all threads of the pool. Nothing aliases but residual and result.
  void run(const PackedConvolution& convolution, const ConvolutionJob& job);

  // At most so many rows of the grid that a product covers are computed at a time by one thread; 0
  // for what suits the number of threads. For tests: results are the same.
  void limit_band(int64_t rows) { band_limit_ = rows; }

  Matmul& matmul() { return matmul_; }

  const MapKernels& kernels() const { return kernels_; }

  base::ThreadPool& pool() { return pool_; }

 private:
  base::ThreadPool& pool_;
  Matmul matmul_;
  const MapKernels& kernels_;
  std::vector<ConvolutionScratch> scratch_;  // of each thread
  int64_t band_limit_ = 0;
};

}  // namespace ditmoe::kernels
