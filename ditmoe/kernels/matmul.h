#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "ditmoe/base/tensor.h"

namespace ditmoe::kernels {

// Rows of one product at most: larger tiles gain nothing once the packed weights pass through the
// cache once per 192 rows, and exact sizes up to here are few enough to keep a primitive for each.
constexpr int64_t kMaxTileRows = 192;

// Rows [first, first + rows) of a larger matrix.
struct Tile {
  int64_t first = 0;
  int64_t rows = 0;
};

// Cuts rows into so many tiles of nearly equal height..
std::vector<Tile> split_rows(int64_t rows, int64_t count);

// Cuts rows into the fewest tiles of nearly equal height, none higher than kMaxTileRows.
std::vector<Tile> tiles_of(int64_t rows);

struct ProductShape;

// The right-hand side of a product, in the layout this CPU multiplies fastest.
class PackedMatrix {
 public:
  PackedMatrix() = default;

  int64_t inputs() const { return inputs_; }

  int64_t outputs() const { return outputs_; }

 private:
  friend class Matmul;

  int64_t inputs_ = 0;
  int64_t outputs_ = 0;
  ProductShape* shape_ = nullptr;  // owned by the Matmul that packed it
  base::Tensor weights_;
  base::Tensor bias_;  // empty without one
};

// Products y = x W^T + b, on oneDNN where its AVX-512 code runs and else by panel_matmul, as a
// linear layer has them. Each call computes on its own thread; calls on different threads may run
// at once. One object per executor: it holds what oneDNN compiled. Row r of y depends on row r of x
// alone, bit for bit, however many rows there are.
class Matmul {
 public:
  // Threads that will call multiply, numbered from 0.
  explicit Matmul(int num_threads);
  ~Matmul();
  Matmul(const Matmul&) = delete;
  Matmul& operator=(const Matmul&) = delete;

  // Packs W [outputs, inputs] and b [outputs]; bias may be nullptr. Not thread-safe.
  PackedMatrix pack(const float* weight, const float* bias, int64_t outputs, int64_t inputs);

  // y = x W^T + b
  //   x [rows, inputs], y [rows, outputs], both dense; they do not alias; any number of rows
  void multiply(const float* x, int64_t rows, const PackedMatrix& w, float* y, int thread) const;

  // Name of the code that multiplies by w: oneDNN's ("brg:avx512_core"), or "panels:avx2" for ours.
  static std::string implementation(const PackedMatrix& w);

 private:
  struct Threads;

  void multiply_tile(
      const float* x, int64_t rows, const PackedMatrix& w, float* y, int thread) const;
  ProductShape& shape_of(int64_t outputs, int64_t inputs, bool bias);

  std::unique_ptr<Threads> threads_;
  std::vector<std::unique_ptr<ProductShape>> shapes_;
};

}  // namespace ditmoe::kernels
