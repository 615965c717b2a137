#include "ditmoe/autograd/attention.h"

#include <cmath>
#include <vector>

#include <torch/torch.h>

#include "ditmoe/autograd/native.h"
#include "ditmoe/kernels/attention.h"
#include "ditmoe/kernels/attention_gradient.h"
#include "ditmoe/kernels/layer_norm.h"

namespace ditmoe::autograd {
namespace {

using kernels::AttentionShape;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

kernels::QkNorm views_of(const variable_list& norm) {
  const auto data = [&](size_t i) { return norm[i].data_ptr<float>(); };
  return {data(0), data(1), data(2), data(3)};
}

// Gradients of QkNorm by image and head, added up in that order, which no number of threads
// changes.
class NormGradients {
 public:
  NormGradients(int64_t parts, int64_t head_dim)
      : head_dim_(head_dim), parts_PX_(at::zeros({parts, 4 * head_dim}, at::kFloat)) {}

  kernels::QkNormGradient part(int64_t index) const {
    float* row = parts_PX_.data_ptr<float>() + index * 4 * head_dim_;
    return {row, row + head_dim_, row + 2 * head_dim_, row + 3 * head_dim_};
  }

  void add_to(const variable_list& norm) const {
    for (size_t i = 0; i < 4; ++i) {
      float* gradient = gradient_of(norm[i]);
      if (gradient == nullptr) continue;
      const auto column = static_cast<int64_t>(i) * head_dim_;
      add_column_sums(parts_PX_.narrow(1, column, head_dim_).contiguous(), gradient);
    }
  }

 private:
  int64_t head_dim_;
  at::Tensor parts_PX_;
};

struct Attention : torch::autograd::Function<Attention> {
  static at::Tensor forward(AutogradContext* context,
                            const Engine& engine,
                            const at::Tensor& qkv_N3D,
                            const AttentionShape& shape,
                            at::TensorList norm) {
    save_engine(context, engine);
    context->saved_data["shape"] = std::vector<int64_t>{shape.tokens, shape.heads, shape.head_dim};
    variable_list saved = {qkv_N3D};
    saved.insert(saved.end(), norm.begin(), norm.end());
    context->save_for_backward(saved);
    at::Tensor out_ND = at::empty({qkv_N3D.size(0), shape.width()}, qkv_N3D.options());
    with_type(qkv_N3D.scalar_type(), [&](auto type) {
      using T = decltype(type);
      compute<T>(data_of<T>(qkv_N3D), qkv_N3D.size(0), shape, norm.vec(), data_of<T>(out_ND));
    });
    return out_ND;
  }

  template <typename T>
  static void compute(
      const T* qkv, int64_t rows, const AttentionShape& shape, const variable_list& norm, T* out) {
    const kernels::QkNorm views = norm.empty() ? kernels::QkNorm{} : views_of(norm);
    const int64_t image = shape.tokens * shape.width();
    parallel(rows / shape.tokens * shape.heads, [&](int64_t begin, int64_t end) {
      std::vector<float> workspace(
          static_cast<size_t>(kernels::attention_workspace(shape, !norm.empty())));
      for (int64_t i = begin; i < end; ++i) {
        const int64_t first = i / shape.heads * image;
        kernels::attention<T>(qkv + 3 * first,
                              shape,
                              i % shape.heads,
                              norm.empty() ? nullptr : &views,
                              workspace,
                              out + first);
      }
    });
  }

  static variable_list backward(AutogradContext* context, const variable_list& diff_outputs) {
    const auto saved = context->get_saved_variables();
    const std::vector<int64_t> sizes = context->saved_data["shape"].toIntVector();
    const AttentionShape shape{sizes[0], sizes[1], sizes[2]};
    const at::Tensor& qkv_N3D = saved[0];
    const variable_list norm(saved.begin() + 1, saved.end());
    const at::Tensor dout_ND = diff_outputs[0].contiguous();
    at::Tensor dqkv_N3D = at::empty_like(qkv_N3D);
    with_type(qkv_N3D.scalar_type(), [&](auto type) {
      using T = decltype(type);
      differentiate<T>(saved_engine(context), qkv_N3D, dout_ND, shape, norm, data_of<T>(dqkv_N3D));
    });
    variable_list result = {{}, dqkv_N3D, {}};
    result.resize(result.size() + norm.size());
    return result;
  }

  template <typename T>
  static void differentiate(const Engine& engine,
                            const at::Tensor& qkv_N3D,
                            const at::Tensor& dout_ND,
                            const AttentionShape& shape,
                            const variable_list& norm,
                            T* dqkv) {
    const bool has_norm = !norm.empty();
    const kernels::QkNorm views = has_norm ? views_of(norm) : kernels::QkNorm{};
    const int64_t parts = qkv_N3D.size(0) / shape.tokens * shape.heads;
    const NormGradients gradients(has_norm ? parts : 0, shape.head_dim);
    const int64_t image = shape.tokens * shape.width();
    parallel(parts, [&](int64_t begin, int64_t end) {
      kernels::AttentionGradientWorkspace workspace;
      for (int64_t i = begin; i < end; ++i) {
        const int64_t first = i / shape.heads * image;
        const auto dnorm = has_norm ? gradients.part(i) : kernels::QkNormGradient{};
        kernels::attention_gradient<T>(data_of<T>(qkv_N3D) + 3 * first,
                                       data_of<T>(dout_ND) + first,
                                       shape,
                                       i % shape.heads,
                                       has_norm ? &views : nullptr,
                                       has_norm ? &dnorm : nullptr,
                                       kernels::gradient_kernels(),
                                       engine.gemm(),
                                       workspace,
                                       dqkv + 3 * first);
      }
    });
    if (has_norm) gradients.add_to(norm);
  }
};

at::Tensor composed(const at::Tensor& qkv_N3D,
                    const AttentionShape& shape,
                    const QkNormWeights& norm) {
  const at::Tensor qkv = qkv_N3D.view({-1, shape.tokens, 3, shape.heads, shape.head_dim})
                             .permute({2, 0, 3, 1, 4});  // [3, B, H, T, head_dim]
  at::Tensor q = qkv[0];
  at::Tensor k = qkv[1];
  if (norm.defined()) {
    const auto normalise = [&](const at::Tensor& x, const at::Tensor& w, const at::Tensor& b) {
      return at::layer_norm(x.to(w.scalar_type()), {shape.head_dim}, w, b, kernels::kLayerNormEps)
          .to(x.scalar_type());
    };
    q = normalise(q, norm.q_weight, norm.q_bias);
    k = normalise(k, norm.k_weight, norm.k_bias);
  }
  const double scale = 1.0 / std::sqrt(static_cast<double>(shape.head_dim));
  const at::Tensor weights_BHTT = at::softmax(at::matmul(q * scale, k.transpose(-2, -1)), -1);
  return at::matmul(weights_BHTT, qkv[2]).transpose(1, 2).reshape({-1, shape.width()});
}

}  // namespace

at::Tensor attention(const Engine& engine,
                     const at::Tensor& qkv_N3D,
                     int64_t tokens,
                     int64_t heads,
                     const QkNormWeights& norm) {
  const AttentionShape shape{tokens, heads, qkv_N3D.size(1) / 3 / heads};
  if (!engine.is_native(qkv_N3D)) return composed(qkv_N3D, shape, norm);
  variable_list weights;
  if (norm.defined()) weights = {norm.q_weight, norm.q_bias, norm.k_weight, norm.k_bias};
  return Attention::apply(engine, qkv_N3D.contiguous(), shape, at::TensorList(weights));
}

}  // namespace ditmoe::autograd
