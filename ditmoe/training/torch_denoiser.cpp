#include "ditmoe/training/torch_denoiser.h"

#include <algorithm>

#include <torch/torch.h>

#include "ditmoe/base/error.h"

namespace ditmoe::training {

diffusion::ImageShape TorchDenoiser::input_shape() const {
  const networks::DitConfig& config = module_.config();
  return {config.channels, config.image_size, config.image_size};
}

int64_t TorchDenoiser::output_channels() const { return module_.config().output_channels(); }

int64_t TorchDenoiser::num_classes() const { return module_.config().num_classes; }

void TorchDenoiser::predict(std::span<const float> x_NCHW,
                            std::span<const float> t_N,
                            std::span<const int32_t> y_N,
                            std::span<float> out) {
  const torch::NoGradGuard no_grad;
  const auto batch = static_cast<int64_t>(t_N.size());
  const diffusion::ImageShape shape = input_shape();
  at::Tensor x = at::empty({batch, shape.channels, shape.height, shape.width}, at::kFloat);
  at::Tensor t = at::empty({batch}, at::kFloat);
  at::Tensor y = at::empty({batch}, at::kLong);
  std::ranges::copy(x_NCHW, x.data_ptr<float>());
  std::ranges::copy(t_N, t.data_ptr<float>());
  for (size_t i = 0; i < y_N.size(); ++i) {
    if (y_N[i] < 0 || y_N[i] > num_classes()) {
      base::bad_input("label: expected 0 to {}, found {}", num_classes(), y_N[i]);
    }
    y.data_ptr<int64_t>()[i] = y_N[i];
  }
  const at::Tensor result =
      module_.forward(x.to(device_), t.to(device_), y.to(device_)).out.to(at::kCPU).contiguous();
  DITMOE_ASSERT(static_cast<size_t>(result.numel()) == out.size());
  std::copy_n(result.data_ptr<float>(), out.size(), out.data());
}

}  // namespace ditmoe::training
