#pragma once

#include <string>
#include <vector>

#include "ditmoe/base/arena.h"
#include "ditmoe/base/tensor.h"
#include "ditmoe/kernels/matmul.h"
#include "ditmoe/networks/matrix_group.h"
#include "ditmoe/networks/weight_source.h"

namespace ditmoe::networks {

// Where an executor takes its matrices from, in the form its Matmul multiplies by.
class MatrixSource {
 public:
  virtual ~MatrixSource() = default;

  virtual const DitConfig& config() const = 0;
  virtual kernels::Precision precision() const = 0;

  // The matrices of a group. Threads may ask at once.
  virtual std::vector<kernels::PackedMatrix> matrices(const MatrixGroup& group) const = 0;

  // One of plain_tensors.
  virtual base::Tensor floats(const std::string& name) const = 0;
};

// Rows of matrix `index` of a group, one weight below the other, in F32 or BF16.
base::Tensor matrix_rows(const WeightSource& weights, const MatrixGroup& group, int64_t index);

// Packs weights as they are asked for. All must outlive this object.
class PackingSource final : public MatrixSource {
 public:
  PackingSource(const WeightSource& weights,
                kernels::Precision precision,
                kernels::Matmul& matmul,
                base::Arena& arena)
      : weights_(weights), precision_(precision), matmul_(matmul), arena_(arena) {}

  const DitConfig& config() const override { return weights_.config(); }

  kernels::Precision precision() const override { return precision_; }

  std::vector<kernels::PackedMatrix> matrices(const MatrixGroup& group) const override;

  base::Tensor floats(const std::string& name) const override { return weights_.floats(name); }

 private:
  const WeightSource& weights_;
  kernels::Precision precision_;
  kernels::Matmul& matmul_;
  base::Arena& arena_;
};

}  // namespace ditmoe::networks
