#include "ditmoe/autograd/modulation.h"

#include <algorithm>

#include <torch/torch.h>

#include "ditmoe/autograd/native.h"
#include "ditmoe/kernels/gradient_kernels.h"
#include "ditmoe/kernels/layer_norm.h"
#include "ditmoe/kernels/row_kernels.h"

namespace ditmoe::autograd {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// Rows [B, D] of an image each, which may be columns of something wider.
struct PerImage {
  explicit PerImage(const at::Tensor& rows_BD)
      : tensor(rows_BD.stride(1) == 1 || rows_BD.size(1) == 1 ? rows_BD : rows_BD.contiguous()),
        data(tensor.data_ptr<float>()),
        stride(tensor.stride(0)) {}

  const float* row(int64_t image) const { return data + image * stride; }

  at::Tensor tensor;
  const float* data;
  int64_t stride;
};

// work(image, row) for all rows of x, images in parallel where there are several, else rows.
void for_rows(int64_t rows, int64_t images, base::FunctionRef<void(int64_t, int64_t)> work) {
  const int64_t tokens = rows / images;
  parallel(rows, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) work(row / tokens, row);
  });
}

// Rows that add to the same sums: an image's are cut into pieces of so many rows, whose sums are
// added in order, so that few images too keep all threads busy and no number of threads changes the
// result.
constexpr int64_t kPieceRows = 64;

// Calls work(image, row, sums) with sums of [parts · D] zeros for each piece, and returns the sums
// of pieces as [B, parts · D].
at::Tensor sum_by_image(int64_t rows,
                        int64_t images,
                        int64_t columns,
                        base::FunctionRef<void(int64_t, int64_t, float*)> work) {
  const int64_t tokens = rows / images;
  const int64_t pieces = (tokens + kPieceRows - 1) / kPieceRows;
  at::Tensor sums_BPX = at::zeros({images, pieces, columns}, at::kFloat);
  float* sums = sums_BPX.data_ptr<float>();
  parallel(images * pieces, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t first = i % pieces * kPieceRows;
      const int64_t last = std::min(tokens, first + kPieceRows);
      for (int64_t token = first; token < last; ++token) {
        work(i / pieces, i / pieces * tokens + token, sums + i * columns);
      }
    }
  });
  return pieces == 1 ? sums_BPX.select(1, 0) : sums_BPX.sum(1);
}

struct NormModulate : torch::autograd::Function<NormModulate> {
  static at::Tensor forward(AutogradContext* context,
                            const at::Tensor& x_ND,
                            const at::Tensor& shift_BD,
                            const at::Tensor& scale_BD) {
    context->save_for_backward({x_ND, scale_BD});
    const int64_t width = x_ND.size(1);
    at::Tensor out_ND = at::empty_like(x_ND);
    const float* x = x_ND.data_ptr<float>();
    auto* out = out_ND.data_ptr<float>();
    const PerImage shift(shift_BD);
    const PerImage scale(scale_BD);
    const kernels::RowKernels& loops = kernels::row_kernels(base::chosen_isa());
    for_rows(x_ND.size(0), shift_BD.size(0), [&](int64_t image, int64_t row) {
      loops.layer_norm_modulate(
          x + row * width, shift.row(image), scale.row(image), width, out + row * width);
    });
    return out_ND;
  }

  static variable_list backward(AutogradContext* context, const variable_list& diff_outputs) {
    const auto saved = context->get_saved_variables();
    const at::Tensor& x_ND = saved[0];
    const PerImage scale(saved[1]);
    const at::Tensor dout_ND = diff_outputs[0].contiguous();
    const int64_t width = x_ND.size(1);
    at::Tensor dx_ND = at::empty_like(x_ND);
    const float* x = x_ND.data_ptr<float>();
    const float* dout = dout_ND.data_ptr<float>();
    auto* dx = dx_ND.data_ptr<float>();
    const kernels::GradientKernels& loops = kernels::gradient_kernels();
    const at::Tensor sums_BX = sum_by_image(
        x_ND.size(0), saved[1].size(0), 2 * width, [&](int64_t image, int64_t row, float* sums) {
          const int64_t at = row * width;
          loops.layer_norm_modulate(
              x + at, scale.row(image), dout + at, width, dx + at, sums, sums + width);
        });
    return {dx_ND, sums_BX.narrow(1, 0, width), sums_BX.narrow(1, width, width)};
  }
};

struct GatedResidual : torch::autograd::Function<GatedResidual> {
  static at::Tensor forward(AutogradContext* context,
                            const at::Tensor& x_ND,
                            const at::Tensor& gate_BD,
                            const at::Tensor& update_ND) {
    context->save_for_backward({gate_BD, update_ND});
    const int64_t width = x_ND.size(1);
    at::Tensor out_ND = at::empty_like(x_ND);
    const float* x = x_ND.data_ptr<float>();
    const float* update = update_ND.data_ptr<float>();
    auto* out = out_ND.data_ptr<float>();
    const PerImage gate(gate_BD);
    const kernels::RowKernels& loops = kernels::row_kernels(base::chosen_isa());
    for_rows(x_ND.size(0), gate_BD.size(0), [&](int64_t image, int64_t row) {
      std::copy_n(x + row * width, width, out + row * width);
      loops.gated_residual(update + row * width, gate.row(image), width, out + row * width);
    });
    return out_ND;
  }

  static variable_list backward(AutogradContext* context, const variable_list& diff_outputs) {
    const auto saved = context->get_saved_variables();
    const PerImage gate(saved[0]);
    const at::Tensor& update_ND = saved[1];
    const at::Tensor dout_ND = diff_outputs[0].contiguous();
    const int64_t width = update_ND.size(1);
    at::Tensor dupdate_ND = at::empty_like(update_ND);
    const float* update = update_ND.data_ptr<float>();
    const float* dout = dout_ND.data_ptr<float>();
    auto* dupdate = dupdate_ND.data_ptr<float>();
    const kernels::GradientKernels& loops = kernels::gradient_kernels();
    const at::Tensor dgate_BD = sum_by_image(
        update_ND.size(0), saved[0].size(0), width, [&](int64_t image, int64_t row, float* sums) {
          const int64_t at = row * width;
          loops.gated_residual(update + at, gate.row(image), dout + at, width, dupdate + at, sums);
        });
    return {diff_outputs[0], dgate_BD, dupdate_ND};
  }
};

at::Tensor by_image(const at::Tensor& x_ND, int64_t images) {
  return x_ND.view({images, -1, x_ND.size(1)});
}

}  // namespace

at::Tensor norm_modulate(const Engine& engine,
                         const at::Tensor& x_ND,
                         const at::Tensor& shift_BD,
                         const at::Tensor& scale_BD) {
  if (engine.is_native(x_ND)) return NormModulate::apply(x_ND.contiguous(), shift_BD, scale_BD);
  const at::Tensor normed_ND = at::layer_norm(x_ND, {x_ND.size(1)}, {}, {}, kernels::kLayerNormEps);
  const at::Tensor scale_B1D = (scale_BD + 1.0).unsqueeze(1);
  return at::addcmul(shift_BD.unsqueeze(1), by_image(normed_ND, shift_BD.size(0)), scale_B1D)
      .view_as(x_ND);
}

at::Tensor gated_residual(const Engine& engine,
                          const at::Tensor& x_ND,
                          const at::Tensor& gate_BD,
                          const at::Tensor& update_ND) {
  if (engine.is_native(x_ND)) {
    return GatedResidual::apply(x_ND.contiguous(), gate_BD, update_ND.contiguous());
  }
  const int64_t images = gate_BD.size(0);
  return at::addcmul(by_image(x_ND, images), by_image(update_ND, images), gate_BD.unsqueeze(1))
      .view_as(x_ND);
}

}  // namespace ditmoe::autograd
