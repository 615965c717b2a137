#include <immintrin.h>

#include "ditmoe/kernels/attention_tiles.h"

namespace ditmoe::kernels {
namespace {

// Registers of 8 floats.
struct Avx2 {
  using Vec = __m256;
  static constexpr int kLanes = 8;
  static constexpr int kRows = 4;
  static constexpr int kUnit = 1;

  static Vec set(float x) { return _mm256_set1_ps(x); }

  static Vec load(const float* p) { return _mm256_load_ps(p); }

  static void store(float* p, Vec x) { _mm256_storeu_ps(p, x); }

  static void store_halves(float* low, float* high, Vec x) {
    _mm_storeu_ps(low, _mm256_castps256_ps128(x));
    _mm_storeu_ps(high, _mm256_extractf128_ps(x, 1));
  }

  static Vec add(Vec a, Vec b) { return _mm256_add_ps(a, b); }

  static Vec sub(Vec a, Vec b) { return _mm256_sub_ps(a, b); }

  static Vec mul(Vec a, Vec b) { return _mm256_mul_ps(a, b); }

  static Vec div(Vec a, Vec b) { return _mm256_div_ps(a, b); }

  static Vec max(Vec a, Vec b) { return _mm256_max_ps(a, b); }

  static Vec fma(Vec a, Vec b, Vec sum) { return _mm256_fmadd_ps(a, b, sum); }

  static Vec dot(Vec sum, Vec a, Vec b) { return fma(a, b, sum); }

  static Vec sqrt(Vec x) { return _mm256_sqrt_ps(x); }

  static __m256i first(int64_t n) {
    const __m256i lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(n)), lanes);
  }

  static Vec only_first(Vec x, int64_t n) {
    return _mm256_and_ps(x, _mm256_castsi256_ps(first(n)));
  }

  static Vec load_floats(const float* p, int64_t n) {
    return n == kLanes ? _mm256_loadu_ps(p) : _mm256_maskload_ps(p, first(n));
  }

  static Vec load_floats(const base::BFloat16* p, int64_t n) {
    __m128i packed = _mm_setzero_si128();
    if (n == kLanes) {
      packed = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
    } else {
      __builtin_memcpy(&packed, p, static_cast<size_t>(n) * sizeof(uint16_t));
    }
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(packed), 16));
  }

  template <typename T>
  static Vec load_units(const T* p, int64_t n) {
    return load_floats(p, n);
  }

  template <typename T>
  static Vec pair_units(const T* p, int64_t /*stride*/, int64_t /*rows*/, int64_t n) {
    return load_floats(p, n);
  }

  static void store_first(float* p, Vec x, int64_t n) {
    if (n == kLanes) {
      _mm256_storeu_ps(p, x);
    } else {
      _mm256_maskstore_ps(p, first(n), x);
    }
  }

  // Rounded to nearest, ties to even; NaN stays NaN.
  static void store_first(base::BFloat16* p, Vec x, int64_t n) {
    const __m256i bits = _mm256_castps_si256(x);
    const __m256i even = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
    const __m256i half = _mm256_add_epi32(even, _mm256_set1_epi32(0x7FFF));
    const __m256i quiet = _mm256_or_si256(bits, _mm256_set1_epi32(0x400000));
    const __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(x, x, _CMP_UNORD_Q));
    const __m256i rounded =
        _mm256_srli_epi32(_mm256_blendv_epi8(_mm256_add_epi32(bits, half), quiet, nan), 16);
    const __m128i packed =
        _mm_packus_epi32(_mm256_castsi256_si128(rounded), _mm256_extracti128_si256(rounded, 1));
    if (n == kLanes) {
      _mm_storeu_si128(reinterpret_cast<__m128i*>(p), packed);
    } else {
      __builtin_memcpy(p, &packed, static_cast<size_t>(n) * sizeof(uint16_t));
    }
  }

  static Vec units_of(const Vec (&p)[kUnit]) { return p[0]; }

  // 2^x = 2^floor(x) · 2^f, the polynomial that of attention_avx512.h. Below 2^-126 it stays there:
  // nothing beside the largest exponential of a row, which is 1. max returns its second operand for
  // a NaN.
  static Vec exp2(Vec x) {
    x = _mm256_max_ps(_mm256_set1_ps(-126.0f), x);
    const Vec n = _mm256_floor_ps(x);
    const Vec f = _mm256_sub_ps(x, n);
    Vec p = _mm256_set1_ps(2.16129149e-4f);
    p = _mm256_fmadd_ps(p, f, _mm256_set1_ps(1.24678464e-3f));
    p = _mm256_fmadd_ps(p, f, _mm256_set1_ps(9.67545157e-3f));
    p = _mm256_fmadd_ps(p, f, _mm256_set1_ps(5.54852806e-2f));
    p = _mm256_fmadd_ps(p, f, _mm256_set1_ps(2.40229306e-1f));
    p = _mm256_fmadd_ps(p, f, _mm256_set1_ps(6.93147044e-1f));
    p = _mm256_fmadd_ps(p, f, _mm256_set1_ps(1.0f));
    const __m256i exponent = _mm256_add_epi32(_mm256_cvttps_epi32(n), _mm256_set1_epi32(127));
    return _mm256_mul_ps(p, _mm256_castsi256_ps(_mm256_slli_epi32(exponent, 23)));
  }

  // rows[i][j] becomes rows[j][i].
  static void transpose(Vec (&rows)[kLanes]) {
    Vec quads[kLanes];
#pragma GCC unroll 2
    for (int i = 0; i < kLanes; i += 4) {
      const Vec low_0 = _mm256_unpacklo_ps(rows[i], rows[i + 1]);
      const Vec high_0 = _mm256_unpackhi_ps(rows[i], rows[i + 1]);
      const Vec low_1 = _mm256_unpacklo_ps(rows[i + 2], rows[i + 3]);
      const Vec high_1 = _mm256_unpackhi_ps(rows[i + 2], rows[i + 3]);
      quads[i] = _mm256_shuffle_ps(low_0, low_1, 0x44);
      quads[i + 1] = _mm256_shuffle_ps(low_0, low_1, 0xEE);
      quads[i + 2] = _mm256_shuffle_ps(high_0, high_1, 0x44);
      quads[i + 3] = _mm256_shuffle_ps(high_0, high_1, 0xEE);
    }
#pragma GCC unroll 4
    for (int c = 0; c < 4; ++c) {
      rows[c] = _mm256_permute2f128_ps(quads[c], quads[4 + c], 0x20);
      rows[4 + c] = _mm256_permute2f128_ps(quads[c], quads[4 + c], 0x31);
    }
  }
};

}  // namespace

void attend_avx2(const AttentionHead<float>& head) { attend<Avx2>(head); }

void attend_avx2(const AttentionHead<base::BFloat16>& head) { attend<Avx2>(head); }

}  // namespace ditmoe::kernels
