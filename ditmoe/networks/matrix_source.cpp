#include "ditmoe/networks/matrix_source.h"

namespace ditmoe::networks {

base::Tensor matrix_rows(const WeightSource& weights, const MatrixGroup& group, int64_t index) {
  const base::DType dtype = weights.dtype(group.weights.front() + ".weight");
  const int64_t count = group.rows(index) * group.inputs;
  base::Tensor rows(dtype, {group.matrix_outputs(index), group.inputs});
  std::byte* dst = rows.data();
  for (const std::string& name : group.weights) {
    weights.read(name + ".weight", group.first(index) * group.inputs, count, dtype, dst);
    dst += static_cast<size_t>(count) * base::size_of(dtype);
  }
  return rows;
}

std::vector<kernels::PackedMatrix> PackingSource::matrices(const MatrixGroup& group) const {
  const base::Tensor bias =
      group.bias ? weights_.floats(group.weights.front() + ".bias") : base::Tensor();
  std::vector<kernels::PackedMatrix> packed;
  for (int64_t i = 0; i < group.count(); ++i) {
    const base::Tensor rows = matrix_rows(weights_, group, i);
    const float* own_bias = group.bias ? bias.as<float>().data() + group.first(i) : nullptr;
    packed.push_back(matmul_.pack(rows.view(), own_bias, group.precision, arena_));
  }
  return packed;
}

}  // namespace ditmoe::networks
