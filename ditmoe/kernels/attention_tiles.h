#pragma once

#include <cstdint>

#include "ditmoe/kernels/attention_head.h"
#include "ditmoe/kernels/layer_norm.h"

// Attention of one head, written once for every instruction set. Queries lie across the lanes of
// registers: scores are S^T = K Q^T and the result is O^T = V^T P^T, both products of broadcast
// elements (of K, of V) with a panel of up to 48 queries that stays in the caches. Maximum,
// exponential and sum of the softmax then go down the columns and never cross lanes, and heads of
// any size need no more padding than one tile of rows.
//
// Ops names the instruction set:
//   Vec, kLanes                   a register of floats
//   kRows                         rows of a tile of products, kLanes / 2
//   kUnit                         elements in the 32 bits that one lane of a product takes
//   load_floats(p, n)             n <= kLanes elements as floats, zeros after them
//   load_units(p, n)              n <= kLanes · kUnit elements as units, zeros after them
//   pair_units(p, stride, rows, n) one unit per column i < n of rows <= kUnit rows, zeros elsewhere
//   store_first(p, x, n)          the first n floats, as elements
//   store_halves(low, high, x)    each half of the lanes to a place of its own
//   only_first(x, n)              x with zeros from lane n on
//   max(a, b)                     b where either is NaN
//   dot(sum, a, b)                sum + a · b over the elements of a unit
//   exp2(x)                       2^x for x <= 0, and NaN of NaN
//   units_of(p)                   one register of units of kUnit registers of floats
//   transpose(rows)               of kLanes registers
//
// Everything is in an unnamed namespace, since each file that includes it compiles it for another
// instruction set and the linker must not take one for another.
namespace ditmoe::kernels {
namespace {

constexpr int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

constexpr int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

// In lane r the sum of term(r, i, n) over the columns of row r, taken n at a time from i.
template <typename Ops, typename Term>
[[gnu::always_inline]] inline typename Ops::Vec sum_rows(int64_t columns, const Term& term) {
  typename Ops::Vec sums[Ops::kLanes];
  for (int row = 0; row < Ops::kLanes; ++row) {
    auto sum = Ops::set(0.0f);
    for (int64_t i = 0; i < columns; i += Ops::kLanes) {
      sum = Ops::add(sum, term(row, i, smaller(Ops::kLanes, columns - i)));
    }
    sums[row] = sum;
  }
  Ops::transpose(sums);
  for (int half = Ops::kLanes / 2; half > 0; half /= 2) {
    for (int row = 0; row < half; ++row) {
      sums[row] = Ops::add(sums[row], sums[row + half]);
    }
  }
  return sums[0];
}

// LayerNorm of the rows of one head, as ref::layer_norm_affine, to rows of dim elements. A register
// of rows at a time: one after the other they would wait for their sums across lanes.
template <typename Ops, typename T>
void normalise(
    const AttentionHead<T>& head, const T* src, const float* weight, const float* bias, T* dst) {
  using Vec = typename Ops::Vec;
  const Vec size = Ops::set(static_cast<float>(head.dim));
  alignas(64) float mean[Ops::kLanes];
  alignas(64) float inverse[Ops::kLanes];
  for (int64_t first = 0; first < head.tokens; first += Ops::kLanes) {
    // Lanes past the last token repeat it.
    const auto token = [&](int64_t row) { return smaller(first + row, head.tokens - 1); };
    const auto value = [&](int64_t row, int64_t i, int64_t n) {
      return Ops::load_floats(src + token(row) * head.qk_stride + i, n);
    };
    Ops::store(mean, Ops::div(sum_rows<Ops>(head.dim, value), size));
    const Vec squares = sum_rows<Ops>(head.dim, [&](int64_t row, int64_t i, int64_t n) {
      const Vec centred = Ops::only_first(Ops::sub(value(row, i, n), Ops::set(mean[row])), n);
      return Ops::mul(centred, centred);
    });
    const Vec variance = Ops::add(Ops::div(squares, size), Ops::set(kLayerNormEps));
    Ops::store(inverse, Ops::div(Ops::set(1.0f), Ops::sqrt(variance)));
    for (int64_t row = 0; row < smaller(Ops::kLanes, head.tokens - first); ++row) {
      for (int64_t i = 0; i < head.dim; i += Ops::kLanes) {
        const int64_t n = smaller(Ops::kLanes, head.dim - i);
        const Vec centred = Ops::sub(value(row, i, n), Ops::set(mean[row]));
        const Vec scaled = Ops::mul(Ops::set(inverse[row]), Ops::load_floats(weight + i, n));
        Ops::store_first(dst + (first + row) * head.dim + i,
                         Ops::fma(centred, scaled, Ops::load_floats(bias + i, n)),
                         n);
      }
    }
  }
}

// Hands finish(row, vector, sum) the sums over units of a[row] · b for kRows rows of a, each a
// broadcast unit, with kVectors registers of b [units, kVectors · kLanes].
template <typename Ops, int kVectors, typename Finish>
[[gnu::always_inline]] inline void multiply_tile(const float* a,
                                                 int64_t row_stride,
                                                 int64_t unit_stride,
                                                 const float* b,
                                                 int64_t units,
                                                 const Finish& finish) {
  using Vec = typename Ops::Vec;
  constexpr int kRows = Ops::kRows;
  Vec sums[kRows][kVectors];
#pragma GCC unroll 8
  for (int row = 0; row < kRows; ++row) {
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) {
      sums[row][v] = Ops::set(0.0f);
    }
  }
  for (int64_t unit = 0; unit < units; ++unit) {
    Vec columns[kVectors];
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) {
      columns[v] = Ops::load(b + (unit * kVectors + v) * Ops::kLanes);
    }
#pragma GCC unroll 8
    for (int row = 0; row < kRows; ++row) {
      const Vec element = Ops::set(a[row * row_stride + unit * unit_stride]);
#pragma GCC unroll 8
      for (int v = 0; v < kVectors; ++v) {
        sums[row][v] = Ops::dot(sums[row][v], element, columns[v]);
      }
    }
  }
#pragma GCC unroll 8
  for (int row = 0; row < kRows; ++row) {
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) {
      finish(row, v, sums[row][v]);
    }
  }
}

// Keys as they are, [tokens rounded up to tiles, units of dim]. The rows that fill the last tile
// repeat the last key, which leaves every maximum as it is.
template <typename Ops, typename T>
void pack_keys(const AttentionHead<T>& head) {
  constexpr int64_t kElements = Ops::kLanes * Ops::kUnit;
  const int64_t units = ceil_div(head.dim, Ops::kUnit);
  const int64_t rows = ceil_div(head.tokens, Ops::kRows) * Ops::kRows;
  for (int64_t row = 0; row < rows; ++row) {
    const T* src = head.k + smaller(row, head.tokens - 1) * head.qk_stride;
    // The last register of a row reaches into the next row, which is written after it.
    for (int64_t unit = 0; unit < units; unit += Ops::kLanes) {
      const int64_t first = unit * Ops::kUnit;
      Ops::store(head.keys + row * units + unit,
                 Ops::load_units(src + first, smaller(kElements, head.dim - first)));
    }
  }
}

// Values as [tiles of kRows dims, units of tokens, kRows]: what a tile of O^T broadcasts lies in
// one stream.
template <typename Ops, typename T>
void pack_values(const AttentionHead<T>& head) {
  const int64_t units = ceil_div(head.tokens, Ops::kUnit);
  for (int64_t dim = 0; dim < head.dim; dim += Ops::kLanes) {
    const int64_t count = smaller(Ops::kLanes, head.dim - dim);
    float* low = head.values + dim * units;
    float* high = low + Ops::kRows * units;
    for (int64_t unit = 0; unit < units; ++unit) {
      const int64_t token = unit * Ops::kUnit;
      const auto pair = Ops::pair_units(head.v + token * head.v_stride + dim,
                                        head.v_stride,
                                        smaller(Ops::kUnit, head.tokens - token),
                                        count);
      Ops::store_halves(low + unit * Ops::kRows, high + unit * Ops::kRows, pair);
    }
  }
}

// Queries first .. first + kVectors · kLanes as [units of dim, kVectors · kLanes]; zeros in the
// lanes past the last token.
template <typename Ops, int kVectors, typename T>
void pack_queries(const AttentionHead<T>& head, int64_t first) {
  constexpr int64_t kElements = Ops::kLanes * Ops::kUnit;
  constexpr int64_t kWidth = kVectors * Ops::kLanes;
  const int64_t units = ceil_div(head.dim, Ops::kUnit);
  for (int v = 0; v < kVectors; ++v) {
    const T* src = head.q + (first + v * Ops::kLanes) * head.qk_stride;
    const int64_t tokens = head.tokens - first - v * Ops::kLanes;
    for (int64_t unit = 0; unit < units; unit += Ops::kLanes) {
      const int64_t dim = unit * Ops::kUnit;
      const int64_t count = smaller(kElements, head.dim - dim);
      typename Ops::Vec rows[Ops::kLanes];
      for (int row = 0; row < Ops::kLanes; ++row) {
        rows[row] = row < tokens ? Ops::load_units(src + row * head.qk_stride + dim, count)
                                 : Ops::set(0.0f);
      }
      Ops::transpose(rows);
      for (int row = 0; row < Ops::kLanes; ++row) {
        Ops::store(head.queries + (unit + row) * kWidth + v * Ops::kLanes, rows[row]);
      }
    }
  }
}

// Scores of all keys, [keys, kVectors · kLanes], and the largest of each query. A NaN may be lost
// in the maximum; the exponentials find it.
template <typename Ops, int kVectors, typename T>
void score_keys(const AttentionHead<T>& head, typename Ops::Vec (&peak)[kVectors]) {
  using Vec = typename Ops::Vec;
  const int64_t units = ceil_div(head.dim, Ops::kUnit);
  for (int v = 0; v < kVectors; ++v) {
    peak[v] = Ops::set(-__builtin_inff());
  }
  for (int64_t key = 0; key < head.tokens; key += Ops::kRows) {
    float* out = head.scores + key * kVectors * Ops::kLanes;
    multiply_tile<Ops, kVectors>(head.keys + key * units,
                                 units,
                                 1,
                                 head.queries,
                                 units,
                                 [&](int row, int v, const Vec& sum) {
                                   Ops::store(out + (row * kVectors + v) * Ops::kLanes, sum);
                                   peak[v] = Ops::max(sum, peak[v]);
                                 });
  }
}

// Turns scores into units of e^(scale · (score - peak)), in place, and adds them up in sum.
template <typename Ops, int kVectors, typename T>
void exponentiate(const AttentionHead<T>& head,
                  float scale,
                  const typename Ops::Vec (&peak)[kVectors],
                  typename Ops::Vec (&sum)[kVectors]) {
  using Vec = typename Ops::Vec;
  constexpr int kUnit = Ops::kUnit;
  constexpr int64_t kWidth = kVectors * Ops::kLanes;
  const Vec factor = Ops::set(scale * 1.44269504088896341f);
  for (int v = 0; v < kVectors; ++v) {
    sum[v] = Ops::set(0.0f);
  }
  const auto one_unit = [&](int64_t unit, int elements) {
    for (int v = 0; v < kVectors; ++v) {
      Vec p[kUnit];
      for (int i = 0; i < kUnit; ++i) {
        p[i] = Ops::set(0.0f);
        if (i < elements) {
          const Vec score = Ops::load(head.scores + (unit * kUnit + i) * kWidth + v * Ops::kLanes);
          p[i] = Ops::exp2(Ops::mul(Ops::sub(score, peak[v]), factor));
          sum[v] = Ops::add(sum[v], p[i]);
        }
      }
      Ops::store(head.scores + unit * kWidth + v * Ops::kLanes, Ops::units_of(p));
    }
  };
  const int64_t whole = head.tokens / kUnit;
  for (int64_t unit = 0; unit < whole; ++unit) {
    one_unit(unit, kUnit);
  }
  if (head.tokens % kUnit != 0) {
    one_unit(whole, 1);
  }
}

// O^T = V^T P^T divided by the sums, then back to rows of dst.
template <typename Ops, int kVectors, typename T>
void weigh_values(const AttentionHead<T>& head,
                  int64_t first,
                  const typename Ops::Vec (&sum)[kVectors]) {
  using Vec = typename Ops::Vec;
  constexpr int64_t kWidth = kVectors * Ops::kLanes;
  const int64_t units = ceil_div(head.tokens, Ops::kUnit);
  Vec inverse[kVectors];
  for (int v = 0; v < kVectors; ++v) {
    inverse[v] = Ops::div(Ops::set(1.0f), sum[v]);
  }
  for (int64_t dim = 0; dim < head.dim; dim += Ops::kRows) {
    float* out = head.output + dim * kWidth;
    multiply_tile<Ops, kVectors>(head.values + dim * units,
                                 1,
                                 Ops::kRows,
                                 head.scores,
                                 units,
                                 [&](int row, int v, const Vec& o) {
                                   Ops::store(out + (row * kVectors + v) * Ops::kLanes,
                                              Ops::mul(o, inverse[v]));
                                 });
  }
  for (int v = 0; v < kVectors; ++v) {
    const int64_t token = first + v * Ops::kLanes;
    const int64_t tokens = smaller(Ops::kLanes, head.tokens - token);
    for (int64_t dim = 0; dim < head.dim; dim += Ops::kLanes) {
      Vec rows[Ops::kLanes];
      for (int row = 0; row < Ops::kLanes; ++row) {
        rows[row] = Ops::load(head.output + (dim + row) * kWidth + v * Ops::kLanes);
      }
      Ops::transpose(rows);
      T* dst = head.dst + token * head.dst_stride + dim;
      for (int64_t row = 0; row < tokens; ++row) {
        Ops::store_first(
            dst + row * head.dst_stride, rows[row], smaller(Ops::kLanes, head.dim - dim));
      }
    }
  }
}

template <typename Ops, int kVectors, typename T>
void attend_queries(const AttentionHead<T>& head, float scale, int64_t first) {
  typename Ops::Vec peak[kVectors];
  typename Ops::Vec sum[kVectors];
  pack_queries<Ops, kVectors>(head, first);
  score_keys<Ops, kVectors>(head, peak);
  exponentiate<Ops, kVectors>(head, scale, peak, sum);
  weigh_values<Ops, kVectors>(head, first, sum);
}

template <typename Ops, typename T>
void attend(AttentionHead<T> head) {
  static_assert(Ops::kLanes <= kMaxLanes && Ops::kRows <= kMaxTileKeys);
  if (head.norm != nullptr) {
    normalise<Ops>(head, head.q, head.norm->q_weight, head.norm->q_bias, head.normed_q);
    normalise<Ops>(head, head.k, head.norm->k_weight, head.norm->k_bias, head.normed_k);
    head.q = head.normed_q;
    head.k = head.normed_k;
    head.qk_stride = head.dim;
  }
  pack_keys<Ops>(head);
  pack_values<Ops>(head);
  const float scale = 1.0f / __builtin_sqrtf(static_cast<float>(head.dim));
  // Blocks of nearly the same width, rather than full ones and a narrow rest: a narrow tile has too
  // few sums to hide the latency of a product.
  const int64_t vectors = ceil_div(head.tokens, Ops::kLanes);
  const int64_t blocks = ceil_div(vectors, kMaxVectors);
  int64_t begin = 0;
  for (int64_t block = 0; block < blocks; ++block) {
    const int64_t end = vectors * (block + 1) / blocks;
    switch (end - begin) {
      case 1:
        attend_queries<Ops, 1>(head, scale, begin * Ops::kLanes);
        break;
      case 2:
        attend_queries<Ops, 2>(head, scale, begin * Ops::kLanes);
        break;
      default:
        attend_queries<Ops, 3>(head, scale, begin * Ops::kLanes);
        break;
    }
    begin = end;
  }
}

}  // namespace
}  // namespace ditmoe::kernels
