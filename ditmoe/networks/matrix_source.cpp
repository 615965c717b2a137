#include "ditmoe/networks/matrix_source.h"

#include <utility>

namespace ditmoe::networks {
namespace {

template <typename T>
void transpose(const T* src_CR, int64_t rows, int64_t columns, T* dst_RC) {
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t column = 0; column < columns; ++column) {
      dst_RC[row * columns + column] = src_CR[column * rows + row];
    }
  }
}

// The matrix of the same shape whose elements stand column by column.
base::Tensor transposed(const base::Tensor& by_column) {
  base::Tensor by_row(by_column.dtype(), by_column.shape());
  const int64_t rows = by_row.dim(0);
  const int64_t columns = by_row.dim(1);
  if (by_row.dtype() == base::DType::kF32) {
    transpose(by_column.as<float>().data(), rows, columns, by_row.as<float>().data());
  } else {
    const base::BFloat16* src = by_column.as<base::BFloat16>().data();
    transpose(src, rows, columns, by_row.as<base::BFloat16>().data());
  }
  return by_row;
}

// The type that keeps every weight of the group.
base::DType type_of(const WeightSource& weights, const MatrixGroup& group) {
  for (size_t i = 0; i < group.weights.size(); ++i) {
    const base::DType dtype = weights.dtype(group.weight_name(i));
    if (dtype != base::DType::kBF16) return dtype;
  }
  return base::DType::kBF16;
}

}  // namespace

base::Tensor matrix_rows(const WeightSource& weights, const MatrixGroup& group, int64_t index) {
  const base::DType dtype = type_of(weights, group);
  const int64_t count = group.rows(index) * group.inputs;
  base::Tensor rows(dtype, {group.matrix_outputs(index), group.inputs});
  std::byte* dst = rows.data();
  for (size_t i = 0; i < group.weights.size(); ++i) {
    weights.read(group.weight_name(i), group.first(index) * group.inputs, count, dtype, dst);
    dst += static_cast<size_t>(count) * base::size_of(dtype);
  }
  return group.is_by_input ? transposed(rows) : std::move(rows);
}

std::vector<kernels::PackedMatrix> PackingSource::matrices(const MatrixGroup& group) const {
  const base::Tensor bias = group.bias ? weights_.floats(group.bias_name()) : base::Tensor();
  std::vector<kernels::PackedMatrix> packed;
  for (int64_t i = 0; i < group.count(); ++i) {
    const base::Tensor rows = matrix_rows(weights_, group, i);
    const float* own_bias = group.bias ? bias.as<float>().data() + group.first(i) : nullptr;
    packed.push_back(matmul_.pack(rows.view(), own_bias, group.precision, arena_));
  }
  return packed;
}

}  // namespace ditmoe::networks
