#include "ditmoe/autograd/experts.h"

#include <algorithm>

#include <torch/torch.h>

#include "ditmoe/autograd/expert_rows.h"
#include "ditmoe/autograd/native.h"
#include "ditmoe/base/error.h"
#include "ditmoe/kernels/gradient_kernels.h"

namespace ditmoe::autograd {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// Rows that one product takes. Whatever experts get, there are then few shapes, each of which keeps
// compiled code; and a product of so many rows is as fast as any.
constexpr int64_t kProductRows = 512;

// The products of experts that all have their rows in the same tensors.
class ExpertProducts {
 public:
  ExpertProducts(const Engine& engine, const ExpertRows& rows, const SwigluWeights& weights)
      : gemm_(engine.gemm()),
        rows_(rows),
        width_(weights.width),
        hidden_(weights.hidden),
        type_(engine.product_type()),
        flat_(static_cast<const std::byte*>(engine.weight(weights.flat, type_, keep_))),
        dtype_(type_ == at::kBFloat16 ? base::DType::kBF16 : base::DType::kF32) {}

  // Fills gate_up_SF2 [S, 2F] and returns the experts' results, [S, D] f32.
  template <typename T>
  at::Tensor forward(const at::Tensor& x_SD, at::Tensor& gate_up) const {
    at::Tensor out_SD = at::empty(x_SD.sizes(), x_SD.options().dtype(at::kFloat));
    const at::Tensor hidden = at::empty({rows_.most(), hidden_}, x_SD.options());
    const auto& loops = kernels::gradient_kernels().swiglu<T>();
    for (int64_t e = 0; e < rows_.experts(); ++e) {
      const int64_t count = rows_.count(e);
      T* gates = row<T>(gate_up, e);
      run({count, 2 * hidden_, width_, false, true}, row<T>(x_SD, e), gate_up_weights(e), gates);
      parallel(count, [&](int64_t begin, int64_t end) {
        loops.forward(gates + begin * 2 * hidden_,
                      end - begin,
                      hidden_,
                      data_of<T>(hidden) + begin * hidden_);
      });
      run({count, width_, hidden_, false, true},
          hidden.data_ptr(),
          down_weights(e),
          row<float>(out_SD, e));
    }
    return out_SD;
  }

  // Given the gradients of weighted results, dout_SD, adds those of the weights to dflat, if any,
  // fills dweight [N · K] and returns the gradients of x_SD, [S, D] f32.
  template <typename T>
  at::Tensor backward(const at::Tensor& x_SD,
                      const at::Tensor& gate_up,
                      const at::Tensor& dout_SD,
                      const float* weight,
                      float* dweight,
                      float* dflat) const {
    at::Tensor dx_SD = at::empty(x_SD.sizes(), x_SD.options().dtype(at::kFloat));
    const at::Tensor hidden = at::empty({rows_.most(), hidden_}, x_SD.options());
    const at::Tensor dgate_up = at::empty({rows_.most(), 2 * hidden_}, x_SD.options());
    for (int64_t e = 0; e < rows_.experts(); ++e) {
      const int64_t count = rows_.count(e);
      if (count == 0) continue;
      const T* dout = row<T>(dout_SD, e);
      run({count, hidden_, width_, false, false}, dout, down_weights(e), data_of<T>(hidden));
      differentiate<T>(
          e, row<T>(gate_up, e), weight, dweight, data_of<T>(hidden), data_of<T>(dgate_up));
      run({count, width_, 2 * hidden_, false, false},
          dgate_up.data_ptr(),
          gate_up_weights(e),
          row<float>(dx_SD, e));
      if (dflat == nullptr) continue;
      float* dgate_up_weights = dflat + e * 3 * hidden_ * width_;
      add({2 * hidden_, width_, count}, dgate_up.data_ptr(), row<T>(x_SD, e), dgate_up_weights);
      add({width_, hidden_, count},
          dout,
          hidden.data_ptr(),
          dgate_up_weights + 2 * hidden_ * width_);
    }
    return dx_SD;
  }

 private:
  template <typename T>
  T* row(const at::Tensor& all, int64_t e) const {
    return data_of<T>(all) + rows_.first(e) * all.size(1);
  }

  // hidden: the gradients of the hidden values on entry, the weighted hidden values on return.
  template <typename T>
  void differentiate(int64_t e,
                     const T* gate_up,
                     const float* weight,
                     float* dweight,
                     T* hidden,
                     T* dgate_up) const {
    const auto& loops = kernels::gradient_kernels().swiglu<T>();
    parallel(rows_.count(e), [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const int64_t choice = rows_.choice(rows_.first(e) + i);
        T* own = hidden + i * hidden_;
        const float slope = loops.backward(gate_up + i * 2 * hidden_,
                                           own,
                                           choice < 0 ? 0.0F : weight[choice],
                                           hidden_,
                                           dgate_up + i * 2 * hidden_,
                                           own);
        if (choice >= 0) dweight[choice] = slope;
      }
    });
  }

  // c = a b, rows of a and c in pieces.
  template <typename C>
  void run(kernels::GemmShape shape, const void* a, const void* b, C* c) const {
    shape.operands = dtype_;
    shape.result = base::DTypeOf<C>::value;
    const int64_t rows = shape.rows;
    for (int64_t first = 0; first < rows; first += kProductRows) {
      shape.rows = std::min(kProductRows, rows - first);
      gemm_.run(shape, element(a, first * shape.inner), b, c + first * shape.columns);
    }
  }

  // c += a^T b, the sum over rows in pieces.
  void add(kernels::GemmShape shape, const void* a, const void* b, float* c) const {
    shape.operands = dtype_;
    shape.accumulate = true;
    shape.transposed_a = true;
    const int64_t rows = shape.inner;
    for (int64_t first = 0; first < rows; first += kProductRows) {
      shape.inner = std::min(kProductRows, rows - first);
      gemm_.run(shape, element(a, first * shape.rows), element(b, first * shape.columns), c);
    }
  }

  const void* element(const void* data, int64_t index) const {
    return static_cast<const std::byte*>(data) + static_cast<size_t>(index) * size_of(dtype_);
  }

  const void* gate_up_weights(int64_t e) const { return element(flat_, e * 3 * hidden_ * width_); }

  const void* down_weights(int64_t e) const {
    return element(flat_, (e * 3 + 2) * hidden_ * width_);
  }

  kernels::Gemm& gemm_;
  const ExpertRows& rows_;
  int64_t width_;
  int64_t hidden_;
  at::ScalarType type_;
  at::Tensor keep_;
  const std::byte* flat_;
  base::DType dtype_;
};

struct RoutedSwiglu : torch::autograd::Function<RoutedSwiglu> {
  static at::Tensor forward(AutogradContext* context,
                            const Engine& engine,
                            const at::Tensor& x_ND,
                            const at::Tensor& weight_NK,
                            const at::Tensor& flat,
                            const at::Tensor& index_NK,
                            int64_t hidden) {
    save_engine(context, engine);
    context->saved_data["hidden"] = hidden;
    const SwigluWeights weights{flat, x_ND.size(1), hidden};
    const ExpertRows rows(index_NK, weights.count());
    const at::Tensor x_SD = rows.gather(x_ND, engine.product_type());
    at::Tensor gate_up = at::empty({rows.rows(), 2 * hidden}, x_SD.options());
    at::Tensor out_SD;
    with_type(engine.product_type(), [&](auto type) {
      const ExpertProducts products(engine, rows, weights);
      out_SD = products.forward<decltype(type)>(x_SD, gate_up);
    });
    context->save_for_backward({x_SD, gate_up, weight_NK, index_NK, flat});
    return rows.combine(out_SD, weight_NK);
  }

  static variable_list backward(AutogradContext* context, const variable_list& diff_outputs) {
    const Engine engine = saved_engine(context);
    const auto saved = context->get_saved_variables();
    const at::Tensor& x_SD = saved[0];
    const at::Tensor& gate_up = saved[1];
    const at::Tensor& weight_NK = saved[2];
    const at::Tensor& index_NK = saved[3];
    const SwigluWeights weights{saved[4], x_SD.size(1), context->saved_data["hidden"].toInt()};
    const ExpertRows rows(index_NK, weights.count());
    const at::Tensor dout_SD = rows.gather(diff_outputs[0].contiguous(), engine.product_type());
    at::Tensor dweight_NK = at::empty_like(weight_NK);
    at::Tensor dx_SD;
    with_type(engine.product_type(), [&](auto type) {
      const ExpertProducts products(engine, rows, weights);
      dx_SD = products.backward<decltype(type)>(x_SD,
                                                gate_up,
                                                dout_SD,
                                                weight_NK.data_ptr<float>(),
                                                dweight_NK.data_ptr<float>(),
                                                gradient_of(weights.flat));
    });
    return {{}, rows.combine(dx_SD, {}), dweight_NK, {}, {}, {}};
  }
};

// ATen's composition of one layer.
at::Tensor composed_swiglu(const at::Tensor& x_SD,
                           const at::Tensor& flat,
                           int64_t hidden,
                           at::ScalarType type) {
  const int64_t width = x_SD.size(1);
  const std::vector<at::Tensor> parts = flat.to(type).split(hidden * width);
  const at::Tensor x = x_SD.to(type);
  const at::Tensor hidden_SF = at::silu(at::linear(x, parts[0].view({hidden, width}))) *
                               at::linear(x, parts[1].view({hidden, width}));
  return at::linear(hidden_SF, parts[2].view({width, hidden})).to(x_SD.scalar_type());
}

at::Tensor composed(const Engine& engine,
                    const at::Tensor& x_ND,
                    const at::Tensor& index_NK,
                    const at::Tensor& weight_NK,
                    const SwigluWeights& experts) {
  const int64_t top_k = index_NK.size(1);
  const at::Tensor slots_S = index_NK.reshape({-1});
  const at::Tensor order_S = at::argsort(slots_S, /*stable=*/true, /*dim=*/0, /*descending=*/false);
  const at::Tensor counts_E = at::bincount(slots_S, /*weights=*/{}, experts.count()).to(at::kCPU);
  const at::Tensor rows_SD = x_ND.index_select(0, order_S.div(top_k, "floor"));
  const std::vector<at::Tensor> weights = experts.flat.view({experts.count(), -1}).unbind(0);
  const bool is_half = engine.precision() == kernels::Precision::kBf16;
  const at::ScalarType type = is_half ? at::kBFloat16 : x_ND.scalar_type();
  std::vector<at::Tensor> outputs;
  int64_t first = 0;
  for (size_t e = 0; e < weights.size(); ++e) {
    const int64_t count = counts_E.data_ptr<int64_t>()[e];
    outputs.push_back(
        composed_swiglu(rows_SD.narrow(0, first, count), weights[e], experts.hidden, type));
    first += count;
  }
  at::Tensor inverse_S = at::empty_like(order_S);
  inverse_S.scatter_(0, order_S, at::arange(slots_S.size(0), slots_S.options()));
  const at::Tensor rows_NKD =
      at::cat(outputs).index_select(0, inverse_S).view({-1, top_k, x_ND.size(1)});
  return (rows_NKD * weight_NK.unsqueeze(-1)).sum(1);
}

}  // namespace

at::Tensor routed_swiglu(const Engine& engine,
                         const at::Tensor& x_ND,
                         const at::Tensor& index_NK,
                         const at::Tensor& weight_NK,
                         const SwigluWeights& experts) {
  DITMOE_ASSERT(experts.flat.numel() % (3 * experts.width * experts.hidden) == 0);
  if (!engine.is_native(x_ND)) return composed(engine, x_ND, index_NK, weight_NK, experts);
  return RoutedSwiglu::apply(engine,
                             x_ND.contiguous(),
                             weight_NK.contiguous(),
                             experts.flat,
                             index_NK.contiguous(),
                             experts.hidden);
}

at::Tensor swiglu(const Engine& engine, const at::Tensor& x_ND, const SwigluWeights& weights) {
  if (!engine.is_native(x_ND)) {
    const bool is_half = engine.precision() == kernels::Precision::kBf16;
    return composed_swiglu(
        x_ND, weights.flat, weights.hidden, is_half ? at::kBFloat16 : x_ND.scalar_type());
  }
  const int64_t rows = x_ND.size(0);
  return routed_swiglu(
      engine, x_ND, at::zeros({rows, 1}, at::kLong), at::ones({rows, 1}, at::kFloat), weights);
}

}  // namespace ditmoe::autograd
