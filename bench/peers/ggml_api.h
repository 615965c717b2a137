// The functions of ggml's C interface that ggml_moe.cpp calls, found with dlsym: the npm package
// carries shared objects without headers. Declared after ggml.h, ggml-alloc.h, ggml-backend.h and
// ggml-cpu.h of version 0.25; structs stay opaque but for InitParams, whose layout is that of all
// versions so far.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace ditmoe::peers {

struct GgmlTensor;
struct GgmlContext;
struct GgmlGraph;
struct GgmlBackend;
struct GgmlBuffer;
struct GgmlBufferType;
struct GgmlAllocator;
struct GgmlThreadpool;

enum GgmlType : int { kGgmlF32 = 0, kGgmlQ8 = 8, kGgmlI32 = 26, kGgmlBf16 = 30 };

struct GgmlInitParams {
  size_t mem_size;
  void* mem_buffer;
  bool no_alloc;
};

// Sizes (ne) of tensors run from the fastest axis to the slowest: [D, N] is N rows of D.
struct Ggml {
  const char* (*version)();
  const char* (*commit)();
  GgmlContext* (*init)(GgmlInitParams);
  void (*free)(GgmlContext*);
  size_t (*tensor_overhead)();
  size_t (*graph_overhead_custom)(size_t size, bool grads);
  GgmlTensor* (*new_tensor_1d)(GgmlContext*, int type, int64_t);
  GgmlTensor* (*new_tensor_2d)(GgmlContext*, int type, int64_t, int64_t);
  GgmlTensor* (*new_tensor_3d)(GgmlContext*, int type, int64_t, int64_t, int64_t);
  size_t (*nbytes)(const GgmlTensor*);
  size_t (*row_size)(int type, int64_t ne);
  // a [K, M], b [K, N] -> [M, N]
  GgmlTensor* (*mul_mat)(GgmlContext*, GgmlTensor* a, GgmlTensor* b);
  // a [K, M, experts], b [K, 1 or slots, N], ids [slots, N] -> [M, slots, N]
  GgmlTensor* (*mul_mat_id)(GgmlContext*, GgmlTensor* a, GgmlTensor* b, GgmlTensor* ids);
  GgmlTensor* (*get_rows)(GgmlContext*, GgmlTensor* a, GgmlTensor* index);
  GgmlTensor* (*swiglu)(GgmlContext*, GgmlTensor* gate_up);  // halves of a row
  GgmlTensor* (*swiglu_split)(GgmlContext*, GgmlTensor* gate, GgmlTensor* up);
  GgmlTensor* (*mul)(GgmlContext*, GgmlTensor*, GgmlTensor*);
  GgmlTensor* (*add)(GgmlContext*, GgmlTensor*, GgmlTensor*);
  GgmlTensor* (*cpy)(GgmlContext*, GgmlTensor* from, GgmlTensor* to);
  GgmlTensor* (*view_2d)(GgmlContext*, GgmlTensor*, int64_t, int64_t, size_t stride, size_t offset);
  GgmlTensor* (*reshape_3d)(GgmlContext*, GgmlTensor*, int64_t, int64_t, int64_t);
  GgmlGraph* (*new_graph_custom)(GgmlContext*, size_t size, bool grads);
  void (*build_forward_expand)(GgmlGraph*, GgmlTensor*);
  void (*set_output)(GgmlTensor*);
  void (*fp32_to_bf16_row)(const float*, uint16_t*, int64_t);
  size_t (*quantize_chunk)(int type,
                           const float* source,
                           void* target,
                           int64_t start,
                           int64_t rows,
                           int64_t row_length,
                           const float* importance);
  GgmlAllocator* (*gallocr_new)(GgmlBufferType*);
  bool (*gallocr_alloc_graph)(GgmlAllocator*, GgmlGraph*);
  void (*gallocr_free)(GgmlAllocator*);
  GgmlBuffer* (*backend_alloc_ctx_tensors)(GgmlContext*, GgmlBackend*);
  void (*backend_buffer_free)(GgmlBuffer*);
  GgmlBufferType* (*backend_get_default_buffer_type)(GgmlBackend*);
  void (*backend_tensor_set)(GgmlTensor*, const void*, size_t offset, size_t size);
  void (*backend_tensor_get)(const GgmlTensor*, void*, size_t offset, size_t size);
  int (*backend_graph_compute)(GgmlBackend*, GgmlGraph*);
  void (*backend_free)(GgmlBackend*);
  GgmlBackend* (*backend_cpu_init)();
  void (*backend_cpu_set_n_threads)(GgmlBackend*, int);
  void (*backend_cpu_set_threadpool)(GgmlBackend*, GgmlThreadpool*);
  void (*threadpool_params_init)(void* params, int num_threads);  // params: 4096 bytes will do
  GgmlThreadpool* (*threadpool_new)(void* params);
  void (*threadpool_free)(GgmlThreadpool*);
};

struct GgmlLibrary {
  Ggml api;
  std::string cpu_library;  // file name of the variant that suits this CPU best
};

// Loads libggml-base.so and, of the libggml-cpu-*.so in folder, the one that scores highest here,
// as ggml's own loader does. Throws std::runtime_error with one line that says what is missing.
GgmlLibrary load_ggml(const std::string& folder);

}  // namespace ditmoe::peers
