#pragma once

#include <cstdint>
#include <vector>

#include "ditmoe/base/tensor.h"
#include "ditmoe/base/thread_pool.h"
#include "ditmoe/kernels/map_kernels.h"
#include "ditmoe/kernels/matmul.h"

namespace ditmoe::kernels {

// Attention of one wide head over all pixels of a map, as the autoencoder has it:
//   dst = softmax(q k^T / sqrt(channels)) v
// Where attention.h keeps a head's scores of a few queries by all keys, here keys are taken a chunk
// at a time and the softmax is brought up to date (Milakov and Gimelshein, arXiv 1805.02867), so
// that memory grows with the pixels alone. A pixel's bits depend on its query, all keys and values
// alone, not on the number of threads.
class PixelAttention {
 public:
  // Everything must outlive the object; the matmul was made for the pool's threads.
  PixelAttention(base::ThreadPool& pool, Matmul& matmul, const MapKernels& kernels);

  // qkv [pixels, 3, channels], dst [pixels, channels]; they do not alias. In bf16, queries, keys,
  // values and the softmax's exponentials are rounded where the CPU has products of them; sums are
  // f32. precision is not int8.
  void run(const float* qkv, int64_t pixels, int64_t channels, Precision precision, float* dst);

 private:
  struct Job;

  // Working memory of one thread.
  struct Scratch {
    base::Tensor queries, scores, weights, added;
    std::vector<float> peaks, sums;
  };

  void pack_chunk(const Job& job, int64_t chunk, base::Arena& arena);
  void attend(const Job& job, int64_t first, int64_t rows, int thread);
  void add_chunk(const Job& job, int64_t chunk, int64_t rows, float* dst, int thread);

  base::ThreadPool& pool_;
  Matmul& matmul_;
  const MapKernels& kernels_;
  std::vector<PackedMatrix> keys_;    // of each chunk: [chunk, channels]
  std::vector<PackedMatrix> values_;  // [channels, chunk]
  std::vector<Scratch> scratch_;
};

}  // namespace ditmoe::kernels
