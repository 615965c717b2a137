#pragma once

#include <cstdint>
#include <vector>

#include <torch/types.h>

#include "ditmoe/autograd/native.h"

namespace ditmoe::autograd {

// Rows of a batch sorted by the expert they go to. Each expert's part is filled up with rows of
// zeros to a multiple of kRowUnit, so that few shapes of products occur.
class ExpertRows {
 public:
  static constexpr int64_t kRowUnit = 16;

  // index_NK i64 in [0, experts).
  ExpertRows(const at::Tensor& index_NK, int64_t experts);

  int64_t rows() const { return first_.back(); }

  int64_t experts() const { return static_cast<int64_t>(first_.size()) - 1; }

  // Where expert e's rows begin, and how many there are, those of zeros among them.
  int64_t first(int64_t e) const { return first_[static_cast<size_t>(e)]; }

  int64_t count(int64_t e) const { return first(e + 1) - first(e); }

  int64_t most() const;

  // The choice n · K + k that a row holds, -1 for a row of zeros.
  int64_t choice(int64_t row) const { return choice_[static_cast<size_t>(row)]; }

  // Where choice n · K + k went.
  int64_t row(int64_t choice) const { return row_[static_cast<size_t>(choice)]; }

  // x_ND[n] for each row, as that type.
  at::Tensor gather(const at::Tensor& x_ND, at::ScalarType type) const;

  // out_ND[n] = Σ_k weight_NK[n, k] · rows_SD[row(n · K + k)]; without weights those are 1.
  at::Tensor combine(const at::Tensor& rows_SD, const at::Tensor& weight_NK) const;

 private:
  int64_t top_k_;
  std::vector<int64_t> first_;
  std::vector<int64_t> choice_;
  std::vector<int64_t> row_;
};

}  // namespace ditmoe::autograd
