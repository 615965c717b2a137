#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "ditmoe/base/dtype.h"
#include "ditmoe/base/error.h"

namespace ditmoe::base {

using Shape = std::vector<int64_t>;

// Product of the dimensions (1 for rank 0). Throws bad_input on a negative dimension or overflow.
int64_t num_elements(const Shape& shape);

// "[2, 3, 4]"
std::string to_string(const Shape& shape);

// Row-major contiguous elements owned by somebody else. Cheap to copy; never outlives its owner.
struct TensorView {
  DType dtype = DType::kF32;
  Shape shape;
  const std::byte* data = nullptr;

  int64_t size() const { return num_elements(shape); }

  size_t bytes() const { return static_cast<size_t>(size()) * size_of(dtype); }

  // The elements as T. T must be the dtype's own type and data aligned for it.
  template <typename T>
  std::span<const T> as() const {
    DITMOE_ASSERT(DTypeOf<T>::value == dtype);
    return {reinterpret_cast<const T*>(data), static_cast<size_t>(size())};
  }
};

// Row-major contiguous elements, 64-byte aligned, zero-filled when made. Movable; copied by
// clone().
class Tensor {
 public:
  Tensor() = default;
  Tensor(DType dtype, Shape shape);

  // A float tensor with the given values.
  static Tensor from(Shape shape, std::span<const float> values);

  DType dtype() const { return view_.dtype; }

  const Shape& shape() const { return view_.shape; }

  int64_t dim(size_t axis) const { return view_.shape.at(axis); }

  int64_t size() const { return view_.size(); }

  size_t bytes() const { return view_.bytes(); }

  std::byte* data() { return data_.get(); }

  const TensorView& view() const { return view_; }

  template <typename T>
  std::span<T> as() {
    DITMOE_ASSERT(DTypeOf<T>::value == dtype());
    return {reinterpret_cast<T*>(data_.get()), static_cast<size_t>(size())};
  }

  template <typename T>
  std::span<const T> as() const {
    return view_.as<T>();
  }

  Tensor clone() const;

 private:
  struct Free {
    void operator()(std::byte* data) const;
  };

  std::unique_ptr<std::byte[], Free> data_;
  TensorView view_{DType::kF32, {0}, nullptr};
};

// Copy of src in another element type: rounded to nearest where the new type is a float; truncated
// and saturated, NaN to 0, where it is an integer. src need not be aligned.
Tensor convert(const TensorView& src, DType dtype);

// The same into dst, of src.size() elements, which need not be aligned either.
void convert_into(const TensorView& src, DType dtype, std::byte* dst);

}  // namespace ditmoe::base
