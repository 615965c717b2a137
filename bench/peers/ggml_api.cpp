#include "ggml_api.h"

#include <dlfcn.h>
#include <filesystem>
#include <stdexcept>

namespace ditmoe::peers {
namespace {

void* open_library(const std::filesystem::path& path) {
  // ggml-cpu refers to symbols of ggml-base.
  void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_GLOBAL);
  if (library == nullptr) {
    throw std::runtime_error(std::string(dlerror()) + " (bench/peers/setup_ggml.sh installs it)");
  }
  return library;
}

// The variant with the highest score; 0 says that the CPU lacks instructions.
std::filesystem::path best_variant(const std::filesystem::path& folder) {
  std::filesystem::path best;
  int best_score = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    const std::string name = entry.path().filename().string();
    if (name.rfind("libggml-cpu-", 0) != 0) {
      continue;
    }
    void* library = dlopen(entry.path().c_str(), RTLD_LAZY | RTLD_LOCAL);
    if (library == nullptr) {
      continue;
    }
    if (void* score = dlsym(library, "ggml_backend_score"); score != nullptr) {
      const int value = reinterpret_cast<int (*)()>(score)();
      if (value > best_score) {
        best_score = value;
        best = entry.path();
      }
    }
    dlclose(library);
  }
  if (best.empty()) {
    throw std::runtime_error(folder.string() + ": no libggml-cpu-*.so for this CPU");
  }
  return best;
}

template <typename Function>
void bind(Function& function, void* library, const char* name) {
  function = reinterpret_cast<Function>(dlsym(library, name));
  if (function == nullptr) {
    throw std::runtime_error(std::string("ggml without ") + name +
                             ": expected version 0.25 (bench/peers/setup_ggml.sh)");
  }
}

void bind_base(Ggml& api, void* base) {
  bind(api.version, base, "ggml_version");
  bind(api.commit, base, "ggml_commit");
  bind(api.init, base, "ggml_init");
  bind(api.free, base, "ggml_free");
  bind(api.tensor_overhead, base, "ggml_tensor_overhead");
  bind(api.graph_overhead_custom, base, "ggml_graph_overhead_custom");
  bind(api.new_tensor_1d, base, "ggml_new_tensor_1d");
  bind(api.new_tensor_2d, base, "ggml_new_tensor_2d");
  bind(api.new_tensor_3d, base, "ggml_new_tensor_3d");
  bind(api.nbytes, base, "ggml_nbytes");
  bind(api.row_size, base, "ggml_row_size");
  bind(api.mul_mat, base, "ggml_mul_mat");
  bind(api.mul_mat_id, base, "ggml_mul_mat_id");
  bind(api.get_rows, base, "ggml_get_rows");
  bind(api.swiglu, base, "ggml_swiglu");
  bind(api.swiglu_split, base, "ggml_swiglu_split");
  bind(api.mul, base, "ggml_mul");
  bind(api.add, base, "ggml_add");
  bind(api.cpy, base, "ggml_cpy");
  bind(api.view_2d, base, "ggml_view_2d");
  bind(api.reshape_3d, base, "ggml_reshape_3d");
  bind(api.new_graph_custom, base, "ggml_new_graph_custom");
  bind(api.build_forward_expand, base, "ggml_build_forward_expand");
  bind(api.set_output, base, "ggml_set_output");
  bind(api.fp32_to_bf16_row, base, "ggml_fp32_to_bf16_row");
  bind(api.quantize_chunk, base, "ggml_quantize_chunk");
}

void bind_backend(Ggml& api, void* base, void* cpu) {
  bind(api.gallocr_new, base, "ggml_gallocr_new");
  bind(api.gallocr_alloc_graph, base, "ggml_gallocr_alloc_graph");
  bind(api.gallocr_free, base, "ggml_gallocr_free");
  bind(api.backend_alloc_ctx_tensors, base, "ggml_backend_alloc_ctx_tensors");
  bind(api.backend_buffer_free, base, "ggml_backend_buffer_free");
  bind(api.backend_get_default_buffer_type, base, "ggml_backend_get_default_buffer_type");
  bind(api.backend_tensor_set, base, "ggml_backend_tensor_set");
  bind(api.backend_tensor_get, base, "ggml_backend_tensor_get");
  bind(api.backend_graph_compute, base, "ggml_backend_graph_compute");
  bind(api.backend_free, base, "ggml_backend_free");
  bind(api.threadpool_params_init, base, "ggml_threadpool_params_init");
  bind(api.backend_cpu_init, cpu, "ggml_backend_cpu_init");
  bind(api.backend_cpu_set_n_threads, cpu, "ggml_backend_cpu_set_n_threads");
  bind(api.backend_cpu_set_threadpool, cpu, "ggml_backend_cpu_set_threadpool");
  bind(api.threadpool_new, cpu, "ggml_threadpool_new");
  bind(api.threadpool_free, cpu, "ggml_threadpool_free");
}

}  // namespace

GgmlLibrary load_ggml(const std::string& folder) {
  GgmlLibrary library{};
  void* base = open_library(std::filesystem::path(folder) / "libggml-base.so");
  const std::filesystem::path variant = best_variant(folder);
  void* cpu = open_library(variant);
  library.cpu_library = variant.filename().string();
  bind_base(library.api, base);
  bind_backend(library.api, base, cpu);
  return library;
}

}  // namespace ditmoe::peers
