#include "ditmoe/kernels/matmul.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <mutex>
#include <string_view>
#include <unordered_map>
#include <utility>

#include <oneapi/dnnl/dnnl.hpp>

#include "ditmoe/base/error.h"
#include "ditmoe/kernels/one_thread.h"
#include "ditmoe/kernels/panel_matmul.h"

namespace ditmoe::kernels {

using dnnl::memory;

namespace {

struct Product {
  dnnl::matmul::primitive_desc description;
  dnnl::matmul primitive;
};

memory::desc dense(int64_t rows, int64_t columns) {
  return {{rows, columns}, memory::data_type::f32, memory::format_tag::ab};
}

dnnl::matmul::primitive_desc describe(const dnnl::engine& engine,
                                      int64_t rows,
                                      const memory::desc& weights,
                                      bool bias) {
  const int64_t inputs = weights.dims()[0];
  const int64_t outputs = weights.dims()[1];
  // The default scratchpad belongs to the primitive and is shared by the threads that execute it.
  dnnl::primitive_attr attributes;
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  const memory::desc src = dense(rows, inputs);
  const memory::desc dst = dense(rows, outputs);
  const dnnl::matmul::desc operation =
      bias ? dnnl::matmul::desc(src, weights, dense(1, outputs), dst)
           : dnnl::matmul::desc(src, weights, dst);
  return {operation, attributes, engine};
}

// oneDNN takes handles as void* for sources too, and does not write to them.
void* handle(const void* data) { return const_cast<void*>(data); }

}  // namespace

// One (outputs, inputs, bias). Where oneDNN has its AVX-512 code, the primitives, compiled when a
// number of rows first occurs: a run-time number of rows falls off oneDNN's fast path.
struct ProductShape {
  dnnl::engine engine;
  memory::desc weights;  // packed; the same for every number of rows
  bool bias = false;
  bool panels = false;  // our own product takes oneDNN's place
  std::mutex compiling;
  std::array<std::atomic<const Product*>, kMaxTileRows + 1> by_rows = {};
  std::vector<std::unique_ptr<const Product>> owned;

  const Product& with_rows(int64_t rows) {
    const Product* found = by_rows[rows].load(std::memory_order_acquire);
    if (found != nullptr) {
      return *found;
    }
    const std::lock_guard lock(compiling);
    found = by_rows[rows].load(std::memory_order_relaxed);
    if (found == nullptr) {
      const auto description = describe(engine, rows, weights, bias);
      owned.push_back(std::make_unique<Product>(Product{description, dnnl::matmul(description)}));
      found = owned.back().get();
      by_rows[rows].store(found, std::memory_order_release);
    }
    return *found;
  }
};

struct Matmul::Threads {
  struct Thread {
    dnnl::stream stream;
    base::Tensor scratchpad;
  };

  dnnl::engine engine{dnnl::engine::kind::cpu, 0};
  std::vector<Thread> threads;
};

std::vector<Tile> split_rows(int64_t rows, int64_t count) {
  std::vector<Tile> tiles;
  for (int64_t i = 0; i < count; ++i) {
    const int64_t first = rows * i / count;
    tiles.push_back({first, rows * (i + 1) / count - first});
  }
  return tiles;
}

std::vector<Tile> tiles_of(int64_t rows) {
  return split_rows(rows, (rows + kMaxTileRows - 1) / kMaxTileRows);
}

Matmul::Matmul(int num_threads) : threads_(std::make_unique<Threads>()) {
  for (int thread = 0; thread < num_threads; ++thread) {
    threads_->threads.push_back({dnnl::stream(threads_->engine), {}});
  }
}

Matmul::~Matmul() = default;

ProductShape& Matmul::shape_of(int64_t outputs, int64_t inputs, bool bias) {
  for (const auto& shape : shapes_) {
    if (shape->weights.dims() == memory::dims{inputs, outputs} && shape->bias == bias) {
      return *shape;
    }
  }
  const memory::desc any({inputs, outputs}, memory::data_type::f32, memory::format_tag::any);
  auto shape = std::make_unique<ProductShape>();
  shape->engine = threads_->engine;
  const auto description = describe(threads_->engine, kMaxTileRows, any, bias);
  shape->weights = description.weights_desc();
  // Only oneDNN's brgemm code computes a row alike among any number of rows.
  shape->panels = !std::string_view(description.impl_info_str()).starts_with("brg");
  shape->bias = bias;
  shapes_.push_back(std::move(shape));
  return *shapes_.back();
}

PackedMatrix Matmul::pack(const float* weight, const float* bias, int64_t outputs, int64_t inputs) {
  const OneThread one_thread;
  PackedMatrix packed;
  packed.inputs_ = inputs;
  packed.outputs_ = outputs;
  packed.shape_ = &shape_of(outputs, inputs, bias != nullptr);
  if (bias != nullptr) {
    packed.bias_ = base::Tensor::from({outputs}, {bias, static_cast<size_t>(outputs)});
  }
  if (packed.shape_->panels) {
    packed.weights_ = pack_panels(weight, outputs, inputs);
    return packed;
  }
  const memory::desc& layout = packed.shape_->weights;
  packed.weights_ = base::Tensor(base::DType::kU8, {static_cast<int64_t>(layout.get_size())});
  // [outputs, inputs] in rows is [inputs, outputs] in columns.
  const memory::desc stored({inputs, outputs}, memory::data_type::f32, memory::format_tag::ba);
  memory src(stored, threads_->engine, handle(weight));
  memory dst(layout, threads_->engine, packed.weights_.data());
  dnnl::stream& stream = threads_->threads.front().stream;
  dnnl::reorder(src, dst).execute(stream, src, dst);
  stream.wait();
  return packed;
}

void Matmul::multiply(
    const float* x, int64_t rows, const PackedMatrix& w, float* y, int thread) const {
  if (w.shape_->panels) {
    const float* bias = w.shape_->bias ? w.bias_.as<float>().data() : nullptr;
    panel_matmul(x, rows, w.weights_, bias, w.outputs_, y);
    return;
  }
  const OneThread one_thread;
  for (const Tile& tile : tiles_of(rows)) {
    multiply_tile(x + tile.first * w.inputs_, tile.rows, w, y + tile.first * w.outputs_, thread);
  }
}

void Matmul::multiply_tile(
    const float* x, int64_t rows, const PackedMatrix& w, float* y, int thread) const {
  Threads::Thread& own = threads_->threads.at(static_cast<size_t>(thread));
  const dnnl::engine& engine = threads_->engine;
  const Product& product = w.shape_->with_rows(rows);
  const memory::desc scratchpad = product.description.scratchpad_desc();
  const auto scratch_bytes = static_cast<int64_t>(scratchpad.get_size());
  if (own.scratchpad.size() < scratch_bytes) {
    own.scratchpad = base::Tensor(base::DType::kU8, {scratch_bytes});
  }
  std::unordered_map<int, memory> arguments = {
      {DNNL_ARG_SRC, memory(product.description.src_desc(), engine, handle(x))},
      {DNNL_ARG_WEIGHTS, memory(w.shape_->weights, engine, handle(w.weights_.view().data))},
      {DNNL_ARG_DST, memory(product.description.dst_desc(), engine, y)},
      {DNNL_ARG_SCRATCHPAD, memory(scratchpad, engine, own.scratchpad.data())}};
  if (w.shape_->bias) {
    arguments.emplace(DNNL_ARG_BIAS,
                      memory(product.description.bias_desc(), engine, handle(w.bias_.view().data)));
  }
  product.primitive.execute(own.stream, arguments);
}

std::string Matmul::implementation(const PackedMatrix& w) {
  if (w.shape_->panels) {
    return "panels:avx2";
  }
  return w.shape_->with_rows(kMaxTileRows).description.impl_info_str();
}

}  // namespace ditmoe::kernels
