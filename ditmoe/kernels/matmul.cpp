#include "ditmoe/kernels/matmul.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <mutex>
#include <string_view>
#include <utility>

#include <oneapi/dnnl/dnnl.hpp>

#include "ditmoe/base/error.h"
#include "ditmoe/kernels/activations.h"
#include "ditmoe/kernels/blocked_layout.h"
#include "ditmoe/kernels/cap_onednn.h"
#include "ditmoe/kernels/one_thread.h"
#include "ditmoe/kernels/onednn_types.h"
#include "ditmoe/kernels/panel_matmul.h"
#include "ditmoe/kernels/quantize_weights.h"

namespace ditmoe::kernels {

using dnnl::memory;

namespace {

using Type = memory::data_type;

base::Isa least_isa(Precision precision) {
  switch (precision) {
    case Precision::kF32:
      return base::Isa::kAvx512;
    case Precision::kBf16:
      return base::Isa::kAvx512Bf16;
    case Precision::kInt8:
      return base::Isa::kAvx512Vnni;
  }
  DITMOE_ASSERT(false);
}

memory::desc dense(int64_t rows, int64_t columns, Type type) {
  return {{rows, columns}, type, memory::format_tag::ab};
}

dnnl::matmul::primitive_desc describe(const dnnl::engine& engine,
                                      int64_t rows,
                                      const memory::desc& weights,
                                      const ProductTypes& types,
                                      bool bias) {
  const int64_t inputs = weights.dims()[0];
  const int64_t outputs = weights.dims()[1];
  // The default scratchpad belongs to the primitive and is shared by the threads that execute it.
  dnnl::primitive_attr attributes;
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  const memory::desc src = dense(rows, inputs, types.src);
  const memory::desc dst = dense(rows, outputs, types.dst);
  const dnnl::matmul::desc operation =
      bias ? dnnl::matmul::desc(src, weights, dense(1, outputs, Type::f32), dst)
           : dnnl::matmul::desc(src, weights, dst);
  return {operation, attributes, engine};
}

Type type_of(base::DType dtype) {
  if (dtype == base::DType::kI8) return Type::s8;
  return dtype == base::DType::kBF16 ? Type::bf16 : Type::f32;
}

// Only oneDNN's brgemm code computes a row alike among any number of rows.
bool is_brgemm(const dnnl::matmul::primitive_desc& description) {
  return std::string_view(description.impl_info_str()).starts_with("brg");
}

bool has_brgemm(const dnnl::engine& engine, Precision precision) {
  const OneThread one_thread;
  const ProductTypes types = types_of(precision);
  const memory::desc any({64, 64}, types.weights, memory::format_tag::any);
  return is_brgemm(describe(engine, kMaxTileRows, any, types, false));
}

// oneDNN takes handles as void* for sources too, and does not write to them.
void* handle(const void* data) { return const_cast<void*>(data); }

// A primitive for one number of rows. oneDNN's handles are kept per thread: making them costs more
// than setting what they point to.
struct Product {
  struct Handles {
    memory src, weights, bias, dst, scratchpad;
  };

  Product(const dnnl::engine& engine,
          const dnnl::matmul::primitive_desc& description,
          size_t threads)
      : primitive(description), scratch_bytes(description.scratchpad_desc().get_size()) {
    for (size_t thread = 0; thread < threads; ++thread) {
      handles.push_back({memory(description.src_desc(), engine, nullptr),
                         memory(description.weights_desc(), engine, nullptr),
                         memory(description.bias_desc(), engine, nullptr),
                         memory(description.dst_desc(), engine, nullptr),
                         memory(description.scratchpad_desc(), engine, nullptr)});
    }
  }

  dnnl::matmul primitive;
  size_t scratch_bytes;
  std::vector<Handles> handles;
};

}  // namespace

// One (outputs, inputs, bias, precision). Where oneDNN has its AVX-512 code, the primitives: a
// run-time number of rows falls off oneDNN's fast path.
struct ProductShape {
  dnnl::engine engine;
  memory::desc weights;  // packed; the same for every number of rows
  Precision precision = Precision::kF32;
  bool bias = false;
  bool panels = false;  // our own product takes oneDNN's place
  size_t threads = 1;
  std::mutex compiling;
  std::array<std::atomic<Product*>, kMaxTileRows + 1> by_rows = {};
  std::vector<std::unique_ptr<Product>> owned;

  Product& with_rows(int64_t rows) {
    Product* found = by_rows[rows].load(std::memory_order_acquire);
    if (found != nullptr) return *found;
    const std::lock_guard lock(compiling);
    found = by_rows[rows].load(std::memory_order_relaxed);
    if (found == nullptr) {
      const OneThread one_thread;  // what is made for several threads stays so
      const auto description = describe(engine, rows, weights, types_of(precision), bias);
      owned.push_back(std::make_unique<Product>(engine, description, threads));
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
  std::mutex adding;
  std::vector<std::unique_ptr<ProductShape>> shapes;

  std::byte* scratchpad(int thread, size_t bytes) {
    base::Tensor& own = threads.at(static_cast<size_t>(thread)).scratchpad;
    if (own.bytes() < bytes) own = base::Tensor(base::DType::kU8, {static_cast<int64_t>(bytes)});
    return own.data();
  }
};

Matmul::Matmul(int num_threads, base::Isa isa) {
  cap_onednn();
  threads_ = std::make_unique<Threads>();
  for (const Precision precision : {Precision::kF32, Precision::kBf16, Precision::kInt8}) {
    by_onednn_.at(static_cast<size_t>(precision)) =
        isa >= least_isa(precision) && has_brgemm(threads_->engine, precision);
  }
  for (int thread = 0; thread < num_threads; ++thread) {
    threads_->threads.push_back({dnnl::stream(threads_->engine), {}});
  }
}

Matmul::~Matmul() = default;

Precision Matmul::computed(Precision wanted) const {
  return by_onednn_.at(static_cast<size_t>(wanted)) ? wanted : Precision::kF32;
}

ProductShape& Matmul::shape_of(int64_t outputs, int64_t inputs, bool bias, Precision precision) {
  const std::lock_guard lock(threads_->adding);
  for (const auto& shape : threads_->shapes) {
    if (shape->weights.dims() == memory::dims{inputs, outputs} && shape->bias == bias &&
        shape->precision == precision) {
      return *shape;
    }
  }
  const OneThread one_thread;
  auto shape = std::make_unique<ProductShape>();
  shape->engine = threads_->engine;
  shape->precision = precision;
  shape->bias = bias;
  shape->threads = threads_->threads.size();
  shape->panels = !by_onednn_.at(static_cast<size_t>(precision));
  const ProductTypes types = types_of(shape->panels ? Precision::kF32 : precision);
  const memory::desc any({inputs, outputs}, types.weights, memory::format_tag::any);
  const auto description = describe(threads_->engine, kMaxTileRows, any, types, bias);
  DITMOE_ASSERT(shape->panels || is_brgemm(description));
  shape->weights = description.weights_desc();
  threads_->shapes.push_back(std::move(shape));
  return *threads_->shapes.back();
}

PackedMatrix Matmul::pack(const base::TensorView& weight,
                          const float* bias,
                          Precision precision,
                          base::Arena& arena) {
  PackedMatrix packed;
  packed.outputs_ = weight.shape.at(0);
  packed.inputs_ = weight.size() / packed.outputs_;
  packed.precision_ = precision;
  if (bias != nullptr) {
    auto* own = arena.take_array<float>(packed.outputs_);
    std::copy_n(bias, packed.outputs_, own);
    packed.bias_ = own;
  }
  const bool product_adds_bias = bias != nullptr && precision != Precision::kInt8;
  ProductShape& shape = shape_of(packed.outputs_, packed.inputs_, product_adds_bias, precision);
  packed.shape_ = &shape;
  QuantizedWeights quantized;
  if (precision == Precision::kInt8) {
    quantized = {arena.take_array<float>(packed.outputs_),
                 arena.take_array<int32_t>(packed.outputs_)};
    packed.columns_ = {quantized.scale, quantized.offset};
  } else if (!shape.panels) {
    place(weight.data, weight.dtype, arena, packed);  // oneDNN rounds as it packs
    return packed;
  }
  const RoundedWeights rounded = round_weights(weight, precision, quantized);
  place(rounded.data, rounded.dtype, arena, packed);
  return packed;
}

void Matmul::place(const void* weight,
                   base::DType dtype,
                   base::Arena& arena,
                   PackedMatrix& matrix) {
  const ProductShape& shape = *matrix.shape_;
  if (shape.panels) {
    const Precision precision = matrix.precision_;
    std::byte* dst = arena.take(panel_bytes(matrix.outputs_, matrix.inputs_, precision));
    pack_panels(weight, matrix.outputs_, matrix.inputs_, precision, dst);
    matrix.weights_ = dst;
    return;
  }
  const OneThread one_thread;
  std::byte* dst = arena.take(shape.weights.get_size());
  // [outputs, inputs] in rows is [inputs, outputs] in columns.
  const memory::desc stored(
      {matrix.inputs_, matrix.outputs_}, type_of(dtype), memory::format_tag::ba);
  memory src_memory(stored, threads_->engine, handle(weight));
  memory dst_memory(shape.weights, threads_->engine, dst);
  dnnl::stream stream(threads_->engine);
  dnnl::reorder(src_memory, dst_memory).execute(stream, src_memory, dst_memory);
  stream.wait();
  matrix.weights_ = dst;
}

namespace {

// oneDNN's description of blocked_layout.h.
memory::desc blocked_desc(const PackedMatrix& w) {
  using Tag = memory::format_tag;
  const Tag tag = w.precision() == Precision::kF32    ? Tag::BA16a64b
                  : w.precision() == Precision::kBf16 ? Tag::BA16a64b2a
                                                      : Tag::BA16a64b4a;
  return {{w.inputs(), w.outputs()}, types_of(w.precision()).weights, tag};
}

}  // namespace

bool Matmul::adopts_in_place(Precision precision) {
  PackedMatrix probe;
  probe.precision_ = precision;
  probe.inputs_ = probe.outputs_ = 64;
  const ProductShape& shape = shape_of(64, 64, false, precision);
  return !shape.panels && shape.weights == blocked_desc(probe);
}

PackedMatrix Matmul::adopt(const BlockedMatrix& stored, base::Arena& arena) {
  PackedMatrix matrix;
  matrix.outputs_ = stored.outputs;
  matrix.inputs_ = stored.inputs;
  matrix.precision_ = stored.precision;
  matrix.bias_ = stored.bias;
  matrix.columns_ = stored.columns;
  const bool product_adds_bias = stored.bias != nullptr && stored.precision != Precision::kInt8;
  ProductShape& shape =
      shape_of(stored.outputs, stored.inputs, product_adds_bias, stored.precision);
  matrix.shape_ = &shape;
  const memory::desc blocked = blocked_desc(matrix);
  if (!shape.panels && shape.weights == blocked) {
    matrix.weights_ = stored.data;
    return matrix;
  }
  const int64_t elements = stored.outputs * stored.inputs;
  base::Tensor plain(base::DType::kU8, {elements * activation_bytes(stored.precision)});
  unpack_blocked(stored.data, stored.outputs, stored.inputs, stored.precision, plain.data());
  place(plain.data(), stored_dtype(stored.precision), arena, matrix);
  return matrix;
}

void Matmul::multiply(
    const void* x, int64_t rows, const PackedMatrix& w, void* y, int thread) const {
  ProductShape& shape = *w.shape_;
  const auto* src = static_cast<const std::byte*>(x);
  auto* dst = static_cast<std::byte*>(y);
  if (shape.panels) {
    const size_t bytes = static_cast<size_t>(w.inputs_ * kPanelColumns) * sizeof(float);
    auto* workspace = reinterpret_cast<float*>(threads_->scratchpad(thread, bytes));
    const Panels panels = {w.weights_, w.columns_.scale, w.precision_, w.inputs_, w.outputs_};
    panel_matmul(
        static_cast<const float*>(x), rows, panels, w.bias_, workspace, static_cast<float*>(y));
    return;
  }
  const OneThread one_thread;
  const auto row_bytes = [](const memory::desc& matrix) {
    return matrix.get_size() / static_cast<size_t>(matrix.dims()[0]);
  };
  for (const Tile& tile : tiles_of(rows)) {
    Product& product = shape.with_rows(tile.rows);
    Product::Handles& own = product.handles[static_cast<size_t>(thread)];
    own.src.set_data_handle(
        handle(src + static_cast<size_t>(tile.first) * row_bytes(own.src.get_desc())));
    own.weights.set_data_handle(handle(w.weights_));
    own.dst.set_data_handle(dst + static_cast<size_t>(tile.first) * row_bytes(own.dst.get_desc()));
    std::array<dnnl_exec_arg_t, 5> arguments = {{{DNNL_ARG_SRC, own.src.get()},
                                                 {DNNL_ARG_WEIGHTS, own.weights.get()},
                                                 {DNNL_ARG_DST, own.dst.get()}}};
    int count = 3;
    if (product.scratch_bytes > 0) {
      own.scratchpad.set_data_handle(threads_->scratchpad(thread, product.scratch_bytes));
      arguments[count++] = {DNNL_ARG_SCRATCHPAD, own.scratchpad.get()};
    }
    if (shape.bias) {
      own.bias.set_data_handle(handle(w.bias_));
      arguments[count++] = {DNNL_ARG_BIAS, own.bias.get()};
    }
    dnnl_stream_t stream = threads_->threads[static_cast<size_t>(thread)].stream.get();
    const dnnl_status_t status =
        dnnl_primitive_execute(product.primitive.get(), stream, count, arguments.data());
    DITMOE_ASSERT(status == dnnl_success);
  }
}

void Matmul::compile(const PackedMatrix& w, int64_t max_rows) const {
  if (w.shape_->panels) return;
  for (int64_t rows = 1; rows <= std::min(max_rows, kMaxTileRows); ++rows) {
    w.shape_->with_rows(rows);
  }
}

std::string Matmul::implementation(const PackedMatrix& w) {
  if (w.shape_->panels) return "panels:avx2";
  ProductShape& shape = *w.shape_;
  return describe(shape.engine, kMaxTileRows, shape.weights, types_of(shape.precision), shape.bias)
      .impl_info_str();
}

}  // namespace ditmoe::kernels
