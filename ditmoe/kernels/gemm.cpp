#include "ditmoe/kernels/gemm.h"

#include <mutex>
#include <omp.h>
#include <shared_mutex>
#include <unordered_map>
#include <vector>

#include <oneapi/dnnl/dnnl.hpp>

#include "ditmoe/base/cpu.h"
#include "ditmoe/base/error.h"
#include "ditmoe/kernels/bfloat16.h"
#include "ditmoe/kernels/cap_onednn.h"

namespace ditmoe::kernels {
namespace {

using dnnl::memory;

memory::data_type type_of(base::DType dtype) {
  DITMOE_ASSERT(dtype == base::DType::kF32 || dtype == base::DType::kBF16);
  return dtype == base::DType::kBF16 ? memory::data_type::bf16 : memory::data_type::f32;
}

memory::desc matrix(int64_t rows, int64_t columns, base::DType dtype, bool transposed) {
  return {{rows, columns},
          type_of(dtype),
          transposed ? memory::format_tag::ba : memory::format_tag::ab};
}

struct Key {
  GemmShape shape;
  int threads = 1;  // a primitive keeps to the threads it was made for

  bool operator==(const Key&) const = default;
};

struct KeyHash {
  size_t operator()(const Key& key) const {
    const GemmShape& s = key.shape;
    const int flags = (s.transposed_a ? 1 : 0) | (s.transposed_b ? 2 : 0) | (s.accumulate ? 4 : 0) |
                      (s.operands == base::DType::kBF16 ? 8 : 0) |
                      (s.result == base::DType::kBF16 ? 16 : 0) | (s.bias ? 32 : 0) |
                      key.threads << 6;
    size_t hash = static_cast<size_t>(flags);
    for (const int64_t size : {s.rows, s.columns, s.inner}) {
      hash = hash * 0x9E3779B97F4A7C15U + static_cast<size_t>(size);
    }
    return hash;
  }
};

struct Product {
  memory::desc a, b, c, bias, scratchpad;
  dnnl::matmul primitive;
};

Product make_product(const dnnl::engine& engine, const GemmShape& shape) {
  // The default scratchpad belongs to the primitive and is shared by the threads that execute it.
  dnnl::primitive_attr attributes;
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  if (shape.accumulate) {
    dnnl::post_ops add;
    add.append_sum(1.0F);
    attributes.set_post_ops(add);
  }
  Product product;
  product.a = matrix(shape.rows, shape.inner, shape.operands, shape.transposed_a);
  product.b = matrix(shape.inner, shape.columns, shape.operands, shape.transposed_b);
  product.c = matrix(shape.rows, shape.columns, shape.result, false);
  product.bias = matrix(1, shape.columns, base::DType::kF32, false);
  const dnnl::matmul::desc operation =
      shape.bias ? dnnl::matmul::desc(product.a, product.b, product.bias, product.c)
                 : dnnl::matmul::desc(product.a, product.b, product.c);
  const dnnl::matmul::primitive_desc description(operation, attributes, engine);
  product.scratchpad = description.scratchpad_desc();
  product.primitive = dnnl::matmul(description);
  return product;
}

void* handle(const void* data) { return const_cast<void*>(data); }  // sources are not written to

std::vector<float> widened(const void* data, int64_t count) {
  const auto* values = static_cast<const base::BFloat16*>(data);
  std::vector<float> result(static_cast<size_t>(count));
  for (int64_t i = 0; i < count; ++i) result[static_cast<size_t>(i)] = widen(values[i]);
  return result;
}

}  // namespace

struct Gemm::State {
  const Product& product(const Key& key) {
    {
      const std::shared_lock lock(mutex);
      const auto found = products.find(key);
      if (found != products.end()) return found->second;
    }
    Product made = make_product(engine, key.shape);
    const std::unique_lock lock(mutex);
    return products.try_emplace(key, std::move(made)).first->second;
  }

  void execute(const GemmShape& shape, const void* a, const void* b, void* c, const float* bias) {
    const Product& made = product({shape, omp_in_parallel() != 0 ? 1 : omp_get_max_threads()});
    static thread_local std::vector<std::byte> scratch;
    const size_t bytes = made.scratchpad.get_size() + 64;
    if (scratch.size() < bytes) scratch.resize(bytes);
    const auto address = reinterpret_cast<uintptr_t>(scratch.data());
    dnnl::stream stream(engine);
    std::unordered_map<int, memory> arguments = {
        {DNNL_ARG_SRC, memory(made.a, engine, handle(a))},
        {DNNL_ARG_WEIGHTS, memory(made.b, engine, handle(b))},
        {DNNL_ARG_DST, memory(made.c, engine, c)},
        {DNNL_ARG_SCRATCHPAD,
         memory(made.scratchpad, engine, reinterpret_cast<void*>((address + 63) / 64 * 64))}};
    if (shape.bias) arguments[DNNL_ARG_BIAS] = memory(made.bias, engine, handle(bias));
    made.primitive.execute(stream, arguments);
    stream.wait();
  }

  // In f32, for CPUs that have no products of bfloat16.
  void execute_widened(GemmShape shape, const void* a, const void* b, void* c, const float* bias) {
    const std::vector<float> wide_a = widened(a, shape.rows * shape.inner);
    const std::vector<float> wide_b = widened(b, shape.inner * shape.columns);
    const bool is_narrow = shape.result == base::DType::kBF16;
    shape.operands = base::DType::kF32;
    shape.result = base::DType::kF32;
    if (!is_narrow) return execute(shape, wide_a.data(), wide_b.data(), c, bias);
    std::vector<float> wide_c(static_cast<size_t>(shape.rows * shape.columns));
    execute(shape, wide_a.data(), wide_b.data(), wide_c.data(), bias);
    auto* out = static_cast<base::BFloat16*>(c);
    for (size_t i = 0; i < wide_c.size(); ++i) out[i] = narrow(wide_c[i]);
  }

  const bool has_bf16 = base::chosen_isa() >= base::Isa::kAvx512Bf16;
  dnnl::engine engine{dnnl::engine::kind::cpu, 0};
  std::shared_mutex mutex;
  std::unordered_map<Key, Product, KeyHash> products;
};

Gemm::Gemm() {
  cap_onednn();
  state_ = std::make_unique<State>();
}

Gemm::~Gemm() = default;

void Gemm::run(const GemmShape& shape, const void* a, const void* b, void* c, const float* bias) {
  DITMOE_ASSERT(shape.operands == base::DType::kBF16 || shape.result == base::DType::kF32);
  DITMOE_ASSERT(!shape.accumulate || shape.result == base::DType::kF32);
  DITMOE_ASSERT(shape.inner > 0 || !shape.bias);
  if (shape.rows == 0 || shape.columns == 0) return;
  if (shape.inner == 0) {
    const auto bytes = static_cast<size_t>(shape.rows * shape.columns) * size_of(shape.result);
    if (!shape.accumulate) std::fill_n(static_cast<std::byte*>(c), bytes, std::byte{0});
    return;
  }
  if (shape.operands == base::DType::kBF16 && !state_->has_bf16) {
    state_->execute_widened(shape, a, b, c, bias);
  } else {
    state_->execute(shape, a, b, c, bias);
  }
}

}  // namespace ditmoe::kernels
