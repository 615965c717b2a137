#pragma once

#include <oneapi/dnnl/dnnl.hpp>

#include "ditmoe/base/error.h"
#include "ditmoe/kernels/precision.h"

namespace ditmoe::kernels {

// What oneDNN's product takes and gives for a precision.
struct ProductTypes {
  dnnl::memory::data_type src;
  dnnl::memory::data_type weights;
  dnnl::memory::data_type dst;
};

inline ProductTypes types_of(Precision precision) {
  using Type = dnnl::memory::data_type;
  switch (precision) {
    case Precision::kF32:
      return {Type::f32, Type::f32, Type::f32};
    case Precision::kBf16:
      return {Type::bf16, Type::bf16, Type::f32};
    case Precision::kInt8:
      return {Type::u8, Type::s8, Type::s32};
  }
  DITMOE_ASSERT(false);
}

}  // namespace ditmoe::kernels
