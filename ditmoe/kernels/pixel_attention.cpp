#include "ditmoe/kernels/pixel_attention.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "ditmoe/base/error.h"

namespace ditmoe::kernels {
namespace {

using base::BFloat16;

constexpr int64_t kChunkKeys = 512;
constexpr int64_t kTileQueries = 128;

// Values are padded with zeros to so many, since products of bfloat16 take them in pairs.
constexpr int64_t kKeysMultiple = 32;

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

void grow(base::Tensor& memory, int64_t floats) {
  if (memory.size() < floats) memory = base::Tensor(base::DType::kF32, {floats});
}

}  // namespace

struct PixelAttention::Job {
  const float* qkv = nullptr;
  int64_t pixels = 0;
  int64_t channels = 0;
  Precision precision = Precision::kF32;
  bool reduced = false;  // whether products take bfloat16
  float* dst = nullptr;

  int64_t chunks() const { return ceil_div(pixels, kChunkKeys); }

  int64_t padded_keys_of(int64_t chunk) const {
    return ceil_div(keys_of(chunk), kKeysMultiple) * kKeysMultiple;
  }

  int64_t keys_of(int64_t chunk) const { return std::min(kChunkKeys, pixels - chunk * kChunkKeys); }
};

PixelAttention::PixelAttention(base::ThreadPool& pool, Matmul& matmul, const MapKernels& kernels)
    : pool_(pool), matmul_(matmul), kernels_(kernels), scratch_(static_cast<size_t>(pool.size())) {}

void PixelAttention::run(
    const float* qkv, int64_t pixels, int64_t channels, Precision precision, float* dst) {
  DITMOE_ASSERT(precision != Precision::kInt8 && pixels > 0);
  const bool reduced = matmul_.computed(precision) == Precision::kBf16;
  const Job job = {qkv, pixels, channels, precision, reduced, dst};
  base::Arena arena(size_t{2} << 20);
  keys_.resize(static_cast<size_t>(job.chunks()));
  values_.resize(keys_.size());
  pool_.run(job.chunks(), [&](int64_t chunk, int) { pack_chunk(job, chunk, arena); });
  pool_.run(ceil_div(pixels, kTileQueries), [&](int64_t tile, int thread) {
    const int64_t first = tile * kTileQueries;
    attend(job, first, std::min(kTileQueries, pixels - first), thread);
  });
}

void PixelAttention::pack_chunk(const Job& job, int64_t chunk, base::Arena& arena) {
  const int64_t count = job.keys_of(chunk);
  const int64_t channels = job.channels;
  base::Tensor keys(base::DType::kF32, {count, channels});
  const int64_t padded = job.padded_keys_of(chunk);
  base::Tensor values(base::DType::kF32, {channels, padded});
  const auto k = keys.as<float>();
  const auto v = values.as<float>();
  for (int64_t key = 0; key < count; ++key) {
    const float* row = job.qkv + ((chunk * kChunkKeys + key) * 3 + 1) * channels;
    std::copy_n(row, channels, k.begin() + key * channels);
    for (int64_t c = 0; c < channels; ++c) {
      v[static_cast<size_t>(c * padded + key)] = row[channels + c];
    }
  }
  const auto own = static_cast<size_t>(chunk);
  keys_[own] = matmul_.pack(keys.view(), nullptr, job.precision, arena);
  values_[own] = matmul_.pack(values.view(), nullptr, job.precision, arena);
}

void PixelAttention::attend(const Job& job, int64_t first, int64_t rows, int thread) {
  Scratch& own = scratch_[static_cast<size_t>(thread)];
  const int64_t channels = job.channels;
  grow(own.queries, kTileQueries * channels);
  grow(own.scores, kTileQueries * kChunkKeys);
  grow(own.weights, kTileQueries * kChunkKeys);
  grow(own.added, kTileQueries * channels);
  own.peaks.assign(kTileQueries, -std::numeric_limits<float>::infinity());
  own.sums.assign(kTileQueries, 0.0f);
  for (int64_t row = 0; row < rows; ++row) {
    const float* query = job.qkv + (first + row) * 3 * channels;
    if (job.reduced) {
      auto* queries = reinterpret_cast<BFloat16*>(own.queries.data());
      kernels_.to_bf16(query, channels, queries + row * channels);
    } else {
      std::copy_n(query, channels, own.queries.as<float>().begin() + row * channels);
    }
  }
  float* dst = job.dst + first * channels;
  std::fill_n(dst, rows * channels, 0.0f);
  for (int64_t chunk = 0; chunk < job.chunks(); ++chunk) add_chunk(job, chunk, rows, dst, thread);
  for (int64_t row = 0; row < rows; ++row) {
    const float inverse = 1.0f / own.sums[static_cast<size_t>(row)];
    for (int64_t c = 0; c < channels; ++c) dst[row * channels + c] *= inverse;
  }
}

void PixelAttention::add_chunk(
    const Job& job, int64_t chunk, int64_t rows, float* dst, int thread) {
  Scratch& own = scratch_[static_cast<size_t>(thread)];
  const int64_t channels = job.channels;
  const int64_t count = job.keys_of(chunk);
  const int64_t padded = job.padded_keys_of(chunk);
  const float scale = 1.0f / std::sqrt(static_cast<float>(channels));
  float* scores = own.scores.as<float>().data();
  matmul_.multiply(own.queries.data(), rows, keys_[static_cast<size_t>(chunk)], scores, thread);
  std::array<float, kTileQueries> factors;
  for (int64_t row = 0; row < rows; ++row) {
    const auto i = static_cast<size_t>(row);
    const float* from = scores + row * count;
    float* peak = &own.peaks[i];
    float* sum = &own.sums[i];
    if (job.reduced) {
      auto* p = reinterpret_cast<BFloat16*>(own.weights.data()) + row * padded;
      std::fill(p + count, p + padded, BFloat16{0});
      factors[i] = kernels_.exponentiate_bf16(from, scale, count, peak, sum, p);
    } else {
      float* p = own.weights.as<float>().data() + row * padded;
      std::fill(p + count, p + padded, 0.0f);
      factors[i] = kernels_.exponentiate_f32(from, scale, count, peak, sum, p);
    }
  }
  float* added = own.added.as<float>().data();
  matmul_.multiply(own.weights.data(), rows, values_[static_cast<size_t>(chunk)], added, thread);
  for (int64_t row = 0; row < rows; ++row) {
    kernels_.scale_add(
        added + row * channels, factors[static_cast<size_t>(row)], channels, dst + row * channels);
  }
}

}  // namespace ditmoe::kernels
