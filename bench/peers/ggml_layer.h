// The MoE layer of a problem as a graph of ggml, on its CPU backend with a thread pool of its own.
#pragma once

#include <vector>

#include "ggml_api.h"
#include "moe_problem.h"

namespace ditmoe::peers {

enum class Layout {
  kSeparate,  // mul_mat_id for gate, for up and for down: how most models are written
  kMerged,    // gate and up as one mul_mat_id of twice the width
  kSorted,    // get_rows and plain mul_mat per expert: needs the choices before the graph is built
};

class GgmlLayer {
 public:
  // dtype is that of all weights; x and the output are f32. Keeps references to api and problem.
  GgmlLayer(const Ggml& api, const MoeProblem& problem, Layout layout, int dtype, int num_threads);
  ~GgmlLayer();
  GgmlLayer(const GgmlLayer&) = delete;
  GgmlLayer& operator=(const GgmlLayer&) = delete;

  // One forward of the layer. Throws std::runtime_error where ggml reports a failure.
  void run();

  // [N, D] of the last run.
  std::vector<float> output() const;

 private:
  struct SwiGlu {
    GgmlTensor* gate = nullptr;  // merged layouts: gate rows, then up rows, of each expert
    GgmlTensor* up = nullptr;
    GgmlTensor* down = nullptr;
  };

  void declare_weights(int dtype);
  SwiGlu declare_swiglu(int dtype, int64_t experts, int64_t hidden);
  void upload(int dtype);
  void upload_swiglu(const SwiGlu& tensors,
                     const float* gate,
                     const float* up,
                     const float* down,
                     int64_t experts,
                     int64_t hidden,
                     int dtype);
  void upload_rows(GgmlTensor* tensor,
                   size_t offset,
                   const float* rows,
                   int64_t count,
                   int64_t length,
                   int dtype);
  void upload_order();
  void build_graph();
  GgmlTensor* swiglu_hidden(GgmlTensor* gate, GgmlTensor* up);
  GgmlTensor* shared_output();
  GgmlTensor* routed_by_id();
  GgmlTensor* routed_sorted();

  const Ggml& api_;
  const MoeProblem& problem_;
  Layout layout_;
  int dtype_;
  GgmlBackend* backend_ = nullptr;
  GgmlThreadpool* pool_ = nullptr;
  GgmlContext* stored_ = nullptr;  // weights and inputs
  GgmlContext* computed_ = nullptr;
  GgmlBuffer* buffer_ = nullptr;
  GgmlAllocator* allocator_ = nullptr;
  GgmlGraph* graph_ = nullptr;
  SwiGlu routed_, shared_;
  GgmlTensor* x_ = nullptr;
  GgmlTensor* choice_ = nullptr;
  GgmlTensor* weight_ = nullptr;
  GgmlTensor* sorted_ = nullptr;          // [D, N*K]: experts' outputs, sorted by expert
  std::vector<GgmlTensor*> token_of_;     // per expert: its tokens
  std::vector<GgmlTensor*> place_of_;     // per slot: each token's row of sorted_
  std::vector<GgmlTensor*> slot_weight_;  // per slot: [1, N]
  GgmlTensor* out_ = nullptr;
};

}  // namespace ditmoe::peers
