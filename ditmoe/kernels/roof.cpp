#include "ditmoe/kernels/roof.h"

#include <algorithm>
#include <chrono>
#include <omp.h>
#include <vector>

#include <oneapi/dnnl/dnnl.hpp>

#include "ditmoe/base/arena.h"
#include "ditmoe/base/error.h"
#include "ditmoe/kernels/activations.h"
#include "ditmoe/kernels/matmul.h"
#include "ditmoe/kernels/onednn_types.h"

namespace ditmoe::kernels {
namespace {

constexpr int64_t kRows = 4096;
constexpr int64_t kInputs = 1152;
constexpr int64_t kOutputs = 9216;
constexpr int64_t kTileRows = 128;
constexpr int64_t kTileOutputs = 1152;
constexpr double kGigaOperations = 2e-9 * kRows * kInputs * kOutputs;

template <typename Work>
double seconds_of(const Work& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// Small numbers of both signs, different everywhere: some CPUs are faster on zeros.
float sample(int64_t i) { return static_cast<float>((i * 37 + i / 64) % 101 - 50) * 0.02f; }

}  // namespace

struct Roof::Products {
  Products(Precision the_precision, int threads)
      : precision(the_precision), matmul(threads), num_threads(threads) {
    if (matmul.computed(precision) != precision) {
      base::bad_input("this CPU has no products in {}", to_word(precision));
    }
    fill();
    prepare_whole();
  }

  void fill() {
    x = {precision, kInputs, arena.take(kRows * kInputs * 4), arena.take_array<float>(kRows)};
    const RowKernels& kernels = row_kernels(base::chosen_isa());
    std::vector<float> row(kInputs);
    for (int64_t i = 0; i < kRows; ++i) {
      for (int64_t k = 0; k < kInputs; ++k) row[static_cast<size_t>(k)] = sample(i * kInputs + k);
      x.store(kernels, row.data(), i);
    }
    base::Tensor weight(base::DType::kF32, {kTileOutputs, kInputs});
    for (int64_t part = 0; part < kOutputs / kTileOutputs; ++part) {
      for (int64_t i = 0; i < weight.size(); ++i) {
        weight.as<float>()[static_cast<size_t>(i)] = sample(part * weight.size() + i);
      }
      tiles.push_back(matmul.pack(weight.view(), nullptr, precision, arena));
    }
    y = arena.take(kRows * kOutputs * 4);
  }

  void prepare_whole() {
    using dnnl::memory;
    const ProductTypes types = types_of(precision);
    const auto dense = memory::format_tag::ab;
    omp_set_num_threads(num_threads);  // a primitive keeps to the threads it was made for
    const memory::desc src({kRows, kInputs}, types.src, dense);
    const memory::desc weights({kInputs, kOutputs}, types.weights, memory::format_tag::any);
    const memory::desc dst({kRows, kOutputs}, types.dst, dense);
    const dnnl::matmul::primitive_desc description(dnnl::matmul::desc(src, weights, dst), engine);
    whole = dnnl::matmul(description);
    const auto bytes = description.weights_desc().get_size();
    auto* packed = reinterpret_cast<uint8_t*>(arena.take(bytes));
    for (size_t i = 0; i < bytes; ++i) packed[i] = static_cast<uint8_t>(i * 37 % 61);
    src_memory = memory(src, engine, x.values);
    weights_memory = memory(description.weights_desc(), engine, packed);
    dst_memory = memory(dst, engine, y);
  }

  void multiply_whole() {
    omp_set_num_threads(num_threads);
    whole.execute(stream,
                  {{DNNL_ARG_SRC, src_memory},
                   {DNNL_ARG_WEIGHTS, weights_memory},
                   {DNNL_ARG_DST, dst_memory}});
    stream.wait();
  }

  // A tile's rows by all weights, each into the same part of y: what leaves the cache is little.
  void multiply_tile(int64_t tile, int thread) const {
    std::byte* dst = y + thread * kTileRows * kTileOutputs * 4;
    for (const PackedMatrix& weights : tiles) {
      matmul.multiply(x.row(tile * kTileRows), kTileRows, weights, dst, thread);
    }
  }

  Precision precision;
  base::Arena arena;
  Matmul matmul;
  int num_threads;
  Activations x;
  std::byte* y = nullptr;
  std::vector<PackedMatrix> tiles;
  dnnl::engine engine{dnnl::engine::kind::cpu, 0};
  dnnl::stream stream{engine};
  dnnl::matmul whole;
  dnnl::memory src_memory, weights_memory, dst_memory;
};

Roof::Roof(Precision precision, base::ThreadPool& pool)
    : products_(std::make_unique<Products>(precision, pool.size())), pool_(pool) {}

Roof::~Roof() = default;

void Roof::measure() {
  const double whole = seconds_of([this] { products_->multiply_whole(); });
  const double tiled = seconds_of([this] {
    pool_.run(kRows / kTileRows,
              [this](int64_t tile, int thread) { products_->multiply_tile(tile, thread); });
  });
  best_ = std::max(best_, kGigaOperations / std::min(whole, tiled));
}

}  // namespace ditmoe::kernels
