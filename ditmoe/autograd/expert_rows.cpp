#include "ditmoe/autograd/expert_rows.h"

#include <algorithm>

#include <torch/torch.h>

namespace ditmoe::autograd {
namespace {

int64_t round_up(int64_t count) {
  constexpr int64_t kUnit = ExpertRows::kRowUnit;
  return (count + kUnit - 1) / kUnit * kUnit;
}

}  // namespace

ExpertRows::ExpertRows(const at::Tensor& index_NK, int64_t experts)
    : top_k_(index_NK.size(1)),
      first_(static_cast<size_t>(experts) + 1),
      row_(static_cast<size_t>(index_NK.numel())) {
  const int64_t* index = index_NK.data_ptr<int64_t>();
  std::vector<int64_t> next(static_cast<size_t>(experts));
  for (int64_t i = 0; i < index_NK.numel(); ++i) ++next[static_cast<size_t>(index[i])];
  for (size_t e = 0; e < next.size(); ++e) first_[e + 1] = first_[e] + round_up(next[e]);
  std::copy(first_.begin(), first_.end() - 1, next.begin());
  choice_.assign(static_cast<size_t>(first_.back()), -1);
  for (int64_t i = 0; i < index_NK.numel(); ++i) {
    const int64_t row = next[static_cast<size_t>(index[i])]++;
    row_[static_cast<size_t>(i)] = row;
    choice_[static_cast<size_t>(row)] = i;
  }
}

int64_t ExpertRows::most() const {
  int64_t most = 0;
  for (int64_t e = 0; e < experts(); ++e) most = std::max(most, count(e));
  return most;
}

at::Tensor ExpertRows::gather(const at::Tensor& x_ND, at::ScalarType type) const {
  const int64_t width = x_ND.size(1);
  at::Tensor rows_SD = at::empty({rows(), width}, x_ND.options().dtype(type));
  const float* x = x_ND.data_ptr<float>();
  with_type(type, [&](auto element) {
    using T = decltype(element);
    T* out = data_of<T>(rows_SD);
    parallel(rows(), [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) {
        if (choice(row) < 0) {
          std::fill_n(out + row * width, width, T{});
        } else {
          store_row(x + choice(row) / top_k_ * width, width, out + row * width);
        }
      }
    });
  });
  return rows_SD;
}

at::Tensor ExpertRows::combine(const at::Tensor& rows_SD, const at::Tensor& weight_NK) const {
  const int64_t width = rows_SD.size(1);
  const int64_t tokens = static_cast<int64_t>(row_.size()) / top_k_;
  at::Tensor out_ND = at::empty({tokens, width}, rows_SD.options());
  const float* src = rows_SD.data_ptr<float>();
  const float* weight = weight_NK.defined() ? weight_NK.data_ptr<float>() : nullptr;
  auto* out = out_ND.data_ptr<float>();
  parallel(tokens, [&](int64_t begin, int64_t end) {
    for (int64_t n = begin; n < end; ++n) {
      float* __restrict dst = out + n * width;
      for (int64_t k = 0; k < top_k_; ++k) {
        const float* from = src + row(n * top_k_ + k) * width;
        const float w = weight == nullptr ? 1.0F : weight[n * top_k_ + k];
        for (int64_t i = 0; i < width; ++i) dst[i] = k == 0 ? w * from[i] : dst[i] + w * from[i];
      }
    }
  });
  return out_ND;
}

}  // namespace ditmoe::autograd
