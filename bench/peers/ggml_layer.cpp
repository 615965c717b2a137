#include "ggml_layer.h"

#include <array>
#include <cstring>
#include <stdexcept>

namespace ditmoe::peers {
namespace {

constexpr size_t kMaxNodes = 4096;

GgmlContext* new_context(const Ggml& api) {
  const size_t size =
      kMaxNodes * api.tensor_overhead() + api.graph_overhead_custom(kMaxNodes, false);
  return api.init({size, nullptr, true});
}

}  // namespace

GgmlLayer::GgmlLayer(
    const Ggml& api, const MoeProblem& problem, Layout layout, int dtype, int num_threads)
    : api_(api), problem_(problem), layout_(layout), dtype_(dtype) {
  backend_ = api_.backend_cpu_init();
  // A pool that lives as long as the layer: without one, ggml starts threads for each graph.
  alignas(16) std::array<std::byte, 4096> params{};
  api_.threadpool_params_init(params.data(), num_threads);
  pool_ = api_.threadpool_new(params.data());
  api_.backend_cpu_set_n_threads(backend_, num_threads);
  api_.backend_cpu_set_threadpool(backend_, pool_);

  stored_ = new_context(api_);
  computed_ = new_context(api_);
  declare_weights(dtype);
  buffer_ = api_.backend_alloc_ctx_tensors(stored_, backend_);
  if (buffer_ == nullptr) {
    throw std::runtime_error("ggml could not allocate the layer's weights");
  }
  upload(dtype);
  build_graph();
  allocator_ = api_.gallocr_new(api_.backend_get_default_buffer_type(backend_));
  if (!api_.gallocr_alloc_graph(allocator_, graph_)) {
    throw std::runtime_error("ggml could not allocate the layer's activations");
  }
}

GgmlLayer::~GgmlLayer() {
  api_.gallocr_free(allocator_);
  api_.backend_buffer_free(buffer_);
  api_.free(computed_);
  api_.free(stored_);
  api_.backend_free(backend_);
  api_.threadpool_free(pool_);
}

void GgmlLayer::run() {
  if (const int status = api_.backend_graph_compute(backend_, graph_); status != 0) {
    throw std::runtime_error("ggml reports status " + std::to_string(status));
  }
}

std::vector<float> GgmlLayer::output() const {
  std::vector<float> out_ND(problem_.x_ND.size());
  api_.backend_tensor_get(out_, out_ND.data(), 0, out_ND.size() * sizeof(float));
  return out_ND;
}

GgmlLayer::SwiGlu GgmlLayer::declare_swiglu(int dtype, int64_t experts, int64_t hidden) {
  const int64_t width = problem_.sizes.width;
  SwiGlu tensors;
  const bool merged = layout_ != Layout::kSeparate;
  tensors.gate = api_.new_tensor_3d(stored_, dtype, width, merged ? 2 * hidden : hidden, experts);
  if (!merged) {
    tensors.up = api_.new_tensor_3d(stored_, dtype, width, hidden, experts);
  }
  tensors.down = api_.new_tensor_3d(stored_, dtype, hidden, width, experts);
  return tensors;
}

void GgmlLayer::declare_weights(int dtype) {
  const MoeSizes& s = problem_.sizes;
  routed_ = declare_swiglu(dtype, s.experts, s.expert_width);
  shared_ = declare_swiglu(dtype, 1, s.shared_width);
  x_ = api_.new_tensor_2d(stored_, kGgmlF32, s.width, s.tokens);
  if (layout_ != Layout::kSorted) {
    choice_ = api_.new_tensor_2d(stored_, kGgmlI32, s.top_k, s.tokens);
    weight_ = api_.new_tensor_3d(stored_, kGgmlF32, 1, s.top_k, s.tokens);
    return;
  }
  sorted_ = api_.new_tensor_2d(stored_, kGgmlF32, s.width, s.tokens * s.top_k);
  for (const int64_t count : expert_counts(problem_)) {
    token_of_.push_back(count > 0 ? api_.new_tensor_1d(stored_, kGgmlI32, count) : nullptr);
  }
  for (int64_t k = 0; k < s.top_k; ++k) {
    place_of_.push_back(api_.new_tensor_1d(stored_, kGgmlI32, s.tokens));
    slot_weight_.push_back(api_.new_tensor_2d(stored_, kGgmlF32, 1, s.tokens));
  }
}

void GgmlLayer::upload_rows(GgmlTensor* tensor,
                            size_t offset,
                            const float* rows,
                            int64_t count,
                            int64_t length,
                            int dtype) {
  std::vector<std::byte> bytes(api_.row_size(dtype, length) * static_cast<size_t>(count));
  if (dtype == kGgmlF32) {
    std::memcpy(bytes.data(), rows, bytes.size());
  } else if (dtype == kGgmlBf16) {
    api_.fp32_to_bf16_row(rows, reinterpret_cast<uint16_t*>(bytes.data()), count * length);
  } else {
    api_.quantize_chunk(dtype, rows, bytes.data(), 0, count, length, nullptr);
  }
  api_.backend_tensor_set(tensor, bytes.data(), offset, bytes.size());
}

void GgmlLayer::upload_swiglu(const SwiGlu& tensors,
                              const float* gate,
                              const float* up,
                              const float* down,
                              int64_t experts,
                              int64_t hidden,
                              int dtype) {
  const int64_t width = problem_.sizes.width;
  const size_t part = api_.row_size(dtype, width) * static_cast<size_t>(hidden);
  for (int64_t e = 0; e < experts; ++e) {
    const int64_t from = e * hidden * width;
    const auto expert = static_cast<size_t>(e);
    if (layout_ == Layout::kSeparate) {
      upload_rows(tensors.gate, expert * part, gate + from, hidden, width, dtype);
      upload_rows(tensors.up, expert * part, up + from, hidden, width, dtype);
    } else {
      upload_rows(tensors.gate, 2 * expert * part, gate + from, hidden, width, dtype);
      upload_rows(tensors.gate, (2 * expert + 1) * part, up + from, hidden, width, dtype);
    }
    const size_t down_part = api_.row_size(dtype, hidden) * static_cast<size_t>(width);
    upload_rows(tensors.down, expert * down_part, down + from, width, hidden, dtype);
  }
}

void GgmlLayer::upload(int dtype) {
  const MoeProblem& p = problem_;
  upload_swiglu(routed_,
                p.gate_EFD.data(),
                p.up_EFD.data(),
                p.down_EDF.data(),
                p.sizes.experts,
                p.sizes.expert_width,
                dtype);
  upload_swiglu(shared_,
                p.shared_gate_SD.data(),
                p.shared_up_SD.data(),
                p.shared_down_DS.data(),
                1,
                p.sizes.shared_width,
                dtype);
  api_.backend_tensor_set(x_, p.x_ND.data(), 0, api_.nbytes(x_));
  if (layout_ == Layout::kSorted) {
    upload_order();
    return;
  }
  api_.backend_tensor_set(choice_, p.choice_NK.data(), 0, api_.nbytes(choice_));
  api_.backend_tensor_set(weight_, p.weight_NK.data(), 0, api_.nbytes(weight_));
}

void GgmlLayer::upload_order() {
  const MoeSizes& s = problem_.sizes;
  std::vector<std::vector<int32_t>> places(s.top_k, std::vector<int32_t>(s.tokens));
  std::vector<std::vector<float>> weights(s.top_k, std::vector<float>(s.tokens));
  int32_t place = 0;
  for (int64_t e = 0; e < s.experts; ++e) {
    std::vector<int32_t> tokens;
    for (int64_t i = 0; i < s.tokens * s.top_k; ++i) {
      if (problem_.choice_NK[i] == e) {
        tokens.push_back(static_cast<int32_t>(i / s.top_k));
        places[i % s.top_k][i / s.top_k] = place++;
        weights[i % s.top_k][i / s.top_k] = problem_.weight_NK[i];
      }
    }
    if (!tokens.empty()) {
      api_.backend_tensor_set(token_of_[e], tokens.data(), 0, api_.nbytes(token_of_[e]));
    }
  }
  for (int64_t k = 0; k < s.top_k; ++k) {
    api_.backend_tensor_set(place_of_[k], places[k].data(), 0, api_.nbytes(place_of_[k]));
    api_.backend_tensor_set(slot_weight_[k], weights[k].data(), 0, api_.nbytes(slot_weight_[k]));
  }
}

void GgmlLayer::build_graph() {
  graph_ = api_.new_graph_custom(computed_, kMaxNodes, false);
  GgmlTensor* routed = layout_ == Layout::kSorted ? routed_sorted() : routed_by_id();
  out_ = api_.add(computed_, routed, shared_output());
  api_.set_output(out_);
  api_.build_forward_expand(graph_, out_);
}

GgmlTensor* GgmlLayer::swiglu_hidden(GgmlTensor* gate, GgmlTensor* up) {
  return up == nullptr ? api_.swiglu(computed_, gate) : api_.swiglu_split(computed_, gate, up);
}

GgmlTensor* GgmlLayer::shared_output() {
  GgmlTensor* gate = api_.mul_mat(computed_, shared_.gate, x_);
  GgmlTensor* up = shared_.up == nullptr ? nullptr : api_.mul_mat(computed_, shared_.up, x_);
  return api_.mul_mat(computed_, shared_.down, swiglu_hidden(gate, up));
}

GgmlTensor* GgmlLayer::routed_by_id() {
  const MoeSizes& s = problem_.sizes;
  GgmlTensor* x = api_.reshape_3d(computed_, x_, s.width, 1, s.tokens);
  GgmlTensor* gate = api_.mul_mat_id(computed_, routed_.gate, x, choice_);
  GgmlTensor* up =
      routed_.up == nullptr ? nullptr : api_.mul_mat_id(computed_, routed_.up, x, choice_);
  GgmlTensor* outputs = api_.mul_mat_id(computed_, routed_.down, swiglu_hidden(gate, up), choice_);
  GgmlTensor* scaled = api_.mul(computed_, outputs, weight_);  // [D, K, N]
  const size_t row = static_cast<size_t>(s.width) * sizeof(float);
  GgmlTensor* sum = nullptr;
  for (int64_t k = 0; k < s.top_k; ++k) {
    GgmlTensor* slot = api_.view_2d(computed_,
                                    scaled,
                                    s.width,
                                    s.tokens,
                                    row * static_cast<size_t>(s.top_k),
                                    row * static_cast<size_t>(k));
    sum = sum == nullptr ? slot : api_.add(computed_, sum, slot);
  }
  return sum;
}

GgmlTensor* GgmlLayer::routed_sorted() {
  const MoeSizes& s = problem_.sizes;
  const size_t gate_row = api_.row_size(dtype_, s.width);
  const size_t down_row = api_.row_size(dtype_, s.expert_width);
  const size_t out_row = static_cast<size_t>(s.width) * sizeof(float);
  const std::vector<int64_t> counts = expert_counts(problem_);
  size_t place = 0;
  for (int64_t e = 0; e < s.experts; ++e) {
    if (counts[e] == 0) {
      continue;
    }
    const auto expert = static_cast<size_t>(e);
    const int64_t rows = 2 * s.expert_width;
    GgmlTensor* gate_up =
        api_.view_2d(computed_, routed_.gate, s.width, rows, gate_row, expert * gate_row * rows);
    GgmlTensor* down = api_.view_2d(
        computed_, routed_.down, s.expert_width, s.width, down_row, expert * down_row * s.width);
    GgmlTensor* x = api_.get_rows(computed_, x_, token_of_[e]);
    GgmlTensor* h = swiglu_hidden(api_.mul_mat(computed_, gate_up, x), nullptr);
    GgmlTensor* target =
        api_.view_2d(computed_, sorted_, s.width, counts[e], out_row, place * out_row);
    // Expanded at once: what reads sorted_ below does not know that these write it.
    api_.build_forward_expand(graph_,
                              api_.cpy(computed_, api_.mul_mat(computed_, down, h), target));
    place += static_cast<size_t>(counts[e]);
  }
  GgmlTensor* sum = nullptr;
  for (int64_t k = 0; k < s.top_k; ++k) {
    GgmlTensor* slot =
        api_.mul(computed_, api_.get_rows(computed_, sorted_, place_of_[k]), slot_weight_[k]);
    sum = sum == nullptr ? slot : api_.add(computed_, sum, slot);
  }
  return sum;
}

}  // namespace ditmoe::peers
