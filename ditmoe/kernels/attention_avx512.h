#pragma once

#include <cstdint>
#include <immintrin.h>

#include "ditmoe/base/dtype.h"

// Registers of 16 floats for attention_tiles.h. In an unnamed namespace for the reason given there.
namespace ditmoe::kernels {
namespace {

struct Avx512 {
  using Vec = __m512;
  static constexpr int kLanes = 16;
  static constexpr int kRows = 8;
  static constexpr int kUnit = 1;

  static Vec set(float x) { return _mm512_set1_ps(x); }

  static Vec load(const float* p) { return _mm512_load_ps(p); }

  static void store(float* p, Vec x) { _mm512_storeu_ps(p, x); }

  static void store_halves(float* low, float* high, Vec x) {
    _mm256_storeu_ps(low, _mm512_castps512_ps256(x));
    _mm256_storeu_ps(high, _mm512_extractf32x8_ps(x, 1));
  }

  static Vec add(Vec a, Vec b) { return _mm512_add_ps(a, b); }

  static Vec sub(Vec a, Vec b) { return _mm512_sub_ps(a, b); }

  static Vec mul(Vec a, Vec b) { return _mm512_mul_ps(a, b); }

  static Vec div(Vec a, Vec b) { return _mm512_div_ps(a, b); }

  static Vec max(Vec a, Vec b) { return _mm512_max_ps(a, b); }

  static Vec fma(Vec a, Vec b, Vec sum) { return _mm512_fmadd_ps(a, b, sum); }

  static Vec dot(Vec sum, Vec a, Vec b) { return fma(a, b, sum); }

  static Vec sqrt(Vec x) { return _mm512_sqrt_ps(x); }

  static __mmask16 first(int64_t n) { return static_cast<__mmask16>((1u << n) - 1); }

  static Vec only_first(Vec x, int64_t n) { return _mm512_maskz_mov_ps(first(n), x); }

  static Vec load_floats(const float* p, int64_t n) {
    return n == kLanes ? _mm512_loadu_ps(p) : _mm512_maskz_loadu_ps(first(n), p);
  }

  static Vec load_floats(const base::BFloat16* p, int64_t n) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(widened(p, n), 16));
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
      _mm512_storeu_ps(p, x);
    } else {
      _mm512_mask_storeu_ps(p, first(n), x);
    }
  }

  // Rounded to nearest, ties to even; NaN stays NaN.
  static void store_first(base::BFloat16* p, Vec x, int64_t n) {
    const __m512i bits = _mm512_castps_si512(x);
    const __m512i even = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
    const __m512i half = _mm512_add_epi32(even, _mm512_set1_epi32(0x7FFF));
    const __m512i rounded = _mm512_mask_or_epi32(_mm512_add_epi32(bits, half),
                                                 _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q),
                                                 bits,
                                                 _mm512_set1_epi32(0x400000));
    store_first(p, _mm512_cvtepi32_epi16(_mm512_srli_epi32(rounded, 16)), n);
  }

  static void store_first(base::BFloat16* p, __m256i bits, int64_t n) {
    if (n == kLanes) {
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), bits);
    } else {
      _mm256_mask_storeu_epi16(p, first(n), bits);
    }
  }

  static __m512i widened(const base::BFloat16* p, int64_t n) {
    if (n == kLanes) {
      return _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
    }
    return _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(first(n), p));
  }

  static Vec units_of(const Vec (&p)[kUnit]) { return p[0]; }

  // 2^x = 2^floor(x) · 2^f. The polynomial is the one of its degree closest to 2^f on [0, 1] in
  // relative error, 2e-9, among those that are 1 at 0 (Remez).
  static Vec exp2(Vec x) {
    const Vec f = _mm512_reduce_ps(x, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);
    Vec p = _mm512_set1_ps(2.16129149e-4f);
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(1.24678464e-3f));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(9.67545157e-3f));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(5.54852806e-2f));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(2.40229306e-1f));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(6.93147044e-1f));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(1.0f));
    return _mm512_scalef_ps(p, x);  // which rounds x down itself
  }

  // rows[i][j] becomes rows[j][i].
  static void transpose(Vec (&rows)[kLanes]) {
    Vec pairs[kLanes];
#pragma GCC unroll 8
    for (int i = 0; i < kLanes; i += 2) {
      pairs[i] = _mm512_unpacklo_ps(rows[i], rows[i + 1]);
      pairs[i + 1] = _mm512_unpackhi_ps(rows[i], rows[i + 1]);
    }
    // quads[4g + c] holds, in each quarter q, column 4q + c of rows 4g .. 4g + 3.
    Vec quads[kLanes];
#pragma GCC unroll 4
    for (int i = 0; i < kLanes; i += 4) {
      quads[i] = unpack_low(pairs[i], pairs[i + 2]);
      quads[i + 1] = unpack_high(pairs[i], pairs[i + 2]);
      quads[i + 2] = unpack_low(pairs[i + 1], pairs[i + 3]);
      quads[i + 3] = unpack_high(pairs[i + 1], pairs[i + 3]);
    }
#pragma GCC unroll 4
    for (int c = 0; c < 4; ++c) {
      const Vec even_low = _mm512_shuffle_f32x4(quads[c], quads[4 + c], 0x88);
      const Vec odd_low = _mm512_shuffle_f32x4(quads[c], quads[4 + c], 0xDD);
      const Vec even_high = _mm512_shuffle_f32x4(quads[8 + c], quads[12 + c], 0x88);
      const Vec odd_high = _mm512_shuffle_f32x4(quads[8 + c], quads[12 + c], 0xDD);
      rows[c] = _mm512_shuffle_f32x4(even_low, even_high, 0x88);
      rows[4 + c] = _mm512_shuffle_f32x4(odd_low, odd_high, 0x88);
      rows[8 + c] = _mm512_shuffle_f32x4(even_low, even_high, 0xDD);
      rows[12 + c] = _mm512_shuffle_f32x4(odd_low, odd_high, 0xDD);
    }
  }

  static Vec unpack_low(Vec a, Vec b) {
    return _mm512_castpd_ps(_mm512_unpacklo_pd(_mm512_castps_pd(a), _mm512_castps_pd(b)));
  }

  static Vec unpack_high(Vec a, Vec b) {
    return _mm512_castpd_ps(_mm512_unpackhi_pd(_mm512_castps_pd(a), _mm512_castps_pd(b)));
  }
};

}  // namespace
}  // namespace ditmoe::kernels
