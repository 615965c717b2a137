#pragma once

#include <cstdint>

#include "ditmoe/base/dtype.h"
#include "ditmoe/kernels/attention.h"

namespace ditmoe::kernels {

// One head of one image as the kernels of attention() see it, one file per instruction set. Nothing
// else is declared here: what those files share as code would exist in as many versions as there
// are instruction sets, of which the linker would keep any one.
template <typename T>
struct AttentionHead {
  // Rows of dim elements, one per token.
  const T* q = nullptr;
  const T* k = nullptr;
  const T* v = nullptr;
  int64_t qk_stride = 0;
  int64_t v_stride = 0;
  int64_t tokens = 0;
  int64_t dim = 0;
  T* dst = nullptr;
  int64_t dst_stride = 0;
  const QkNorm* norm = nullptr;  // or q and k as they are

  // Where to work, 64-byte aligned; kernels/attention.cpp knows the sizes.
  float* keys = nullptr;
  float* values = nullptr;
  float* queries = nullptr;
  float* scores = nullptr;
  float* output = nullptr;
  T* normed_q = nullptr;  // [tokens, dim], with norm only
  T* normed_k = nullptr;
};

// The largest tiles of any instruction set: floats of a register, registers and rows of a tile.
constexpr int64_t kMaxLanes = 16;
constexpr int64_t kMaxVectors = 3;
constexpr int64_t kMaxTileKeys = 8;

void attend_avx2(const AttentionHead<float>& head);
void attend_avx2(const AttentionHead<base::BFloat16>& head);
void attend_avx512(const AttentionHead<float>& head);
void attend_avx512(const AttentionHead<base::BFloat16>& head);
void attend_avx512_bf16(const AttentionHead<base::BFloat16>& head);

}  // namespace ditmoe::kernels
