#include "ditmoe/kernels/attention_avx512.h"
#include "ditmoe/kernels/attention_tiles.h"

namespace ditmoe::kernels {
namespace {

// Products of pairs of bfloat16, added up in f32.
struct Avx512Bf16 : Avx512 {
  static constexpr int kUnit = 2;

  static Vec dot(Vec sum, Vec a, Vec b) { return _mm512_dpbf16_ps(sum, as_pairs(a), as_pairs(b)); }

  static __m512bh as_pairs(Vec x) { return reinterpret_cast<__m512bh>(x); }

  static Vec load_units(const base::BFloat16* p, int64_t n) {
    if (n == kLanes * kUnit) return _mm512_loadu_ps(p);
    const auto mask = static_cast<__mmask32>((uint64_t{1} << n) - 1);
    return _mm512_castsi512_ps(_mm512_maskz_loadu_epi16(mask, p));
  }

  static Vec pair_units(const base::BFloat16* p, int64_t stride, int64_t rows, int64_t n) {
    const __m512i low = widened(p, n);
    if (rows == 1) return _mm512_castsi512_ps(low);
    const __m512i high = _mm512_slli_epi32(widened(p + stride, n), 16);
    return _mm512_castsi512_ps(_mm512_or_si512(low, high));
  }

  static Vec units_of(const Vec (&p)[kUnit]) {
    // The conversion puts the first register below the second; lanes want them side by side.
    alignas(64) static constexpr uint16_t kInterleave[32] = {
        0, 16, 1, 17, 2,  18, 3,  19, 4,  20, 5,  21, 6,  22, 7,  23,
        8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
    const auto halves = reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(p[1], p[0]));
    return _mm512_castsi512_ps(_mm512_permutexvar_epi16(_mm512_load_si512(kInterleave), halves));
  }

  using Avx512::store_first;

  static void store_first(base::BFloat16* p, Vec x, int64_t n) {
    store_first(p, reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(x)), n);
  }

  // As that of Avx512 with fewer terms: 3e-6 of what is then rounded to 4e-3.
  static Vec exp2(Vec x) {
    const Vec f = _mm512_reduce_ps(x, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);
    Vec p = _mm512_set1_ps(1.34266843e-2f);
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(5.22424742e-2f));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(2.41280205e-1f));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(6.93044845e-1f));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(1.0f));
    return _mm512_scalef_ps(p, x);
  }
};

}  // namespace

void attend_avx512_bf16(const AttentionHead<base::BFloat16>& head) { attend<Avx512Bf16>(head); }

}  // namespace ditmoe::kernels
