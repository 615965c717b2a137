#include "ditmoe/training/group_norm.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include <torch/torch.h>

#include "ditmoe/base/dtype.h"
#include "ditmoe/base/error.h"
#include "ditmoe/kernels/bfloat16.h"
#include "ditmoe/kernels/exp.h"
#include "ditmoe/kernels/group_norm.h"

namespace ditmoe::training {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// Loops go over some pixels at a time as one long row, with what belongs to a channel repeated for
// each pixel: rows of a few channels alone would be too short to vectorise well.
constexpr int64_t kRowElements = 512;

[[gnu::always_inline]] inline float load(const float* x) { return *x; }

[[gnu::always_inline]] inline float load(const base::BFloat16* x) { return kernels::widen(*x); }

[[gnu::always_inline]] inline void put(float value, float* y) { *y = value; }

[[gnu::always_inline]] inline void put(float value, base::BFloat16* y) {
  *y = kernels::narrow(value);
}

[[gnu::always_inline]] inline float sigmoid(float z) {
  return 1.0F / (1.0F + kernels::exp_f32(-z));
}

// The derivative of silu.
[[gnu::always_inline]] inline float silu_slope(float z) {
  const float s = sigmoid(z);
  return s * (1.0F + z * (1.0F - s));
}

template <typename T>
void sum_row(const T* __restrict x,
             int64_t count,
             float* __restrict sum,
             float* __restrict square) {
  for (int64_t i = 0; i < count; ++i) {
    const float value = load(x + i);
    sum[i] += value;
    square[i] += value * value;
  }
}

template <bool kSilu, typename T>
void apply_row(const T* __restrict x,
               const float* __restrict scale,
               const float* __restrict shift,
               int64_t count,
               T* __restrict y) {
  for (int64_t i = 0; i < count; ++i) {
    const float z = load(x + i) * scale[i] + shift[i];
    put(kSilu ? z * sigmoid(z) : z, y + i);
  }
}

// dz, sum += dz, product += dz · x
template <bool kSilu, typename T>
void sum_gradient_row(const T* __restrict x,
                      const T* __restrict dy,
                      const float* __restrict scale,
                      const float* __restrict shift,
                      int64_t count,
                      float* __restrict dz,
                      float* __restrict sum,
                      float* __restrict product) {
  for (int64_t i = 0; i < count; ++i) {
    const float value = load(x + i);
    float gradient = load(dy + i);
    if constexpr (kSilu) gradient *= silu_slope(value * scale[i] + shift[i]);
    dz[i] = gradient;
    sum[i] += gradient;
    product[i] += gradient * value;
  }
}

// dx = dz · scale + x · slope + offset
template <typename T>
void gradient_row(const T* __restrict x,
                  const float* __restrict dz,
                  const float* __restrict scale,
                  const float* __restrict slope,
                  const float* __restrict offset,
                  int64_t count,
                  T* __restrict dx) {
  for (int64_t i = 0; i < count; ++i) {
    put(dz[i] * scale[i] + load(x + i) * slope[i] + offset[i], dx + i);
  }
}

// What a pass over one image has for each channel, repeated to the length of a row.
class Rows {
 public:
  Rows(int64_t channels, int64_t pixels)
      : channels_(channels),
        elements_(channels * pixels),
        length_(std::max<int64_t>(kRowElements / channels, 1) * channels) {}

  // work(first element, count) for all rows of an image.
  template <typename Work>
  void each(const Work& work) const {
    for (int64_t at = 0; at < elements_; at += length_) work(at, std::min(length_, elements_ - at));
  }

  std::vector<float> make() const { return std::vector<float>(static_cast<size_t>(length_)); }

  // Writes value(channel) wherever the channel stands in a row.
  template <typename Value>
  void fill(std::vector<float>& row, const Value& value) const {
    for (int64_t c = 0; c < channels_; ++c) {
      const float of_channel = value(c);
      for (int64_t i = c; i < length_; i += channels_) row[static_cast<size_t>(i)] = of_channel;
    }
  }

  // The sum of what stands for a channel.
  double sum(const std::vector<float>& row, int64_t channel) const {
    double total = 0;
    for (int64_t i = channel; i < length_; i += channels_) total += row[static_cast<size_t>(i)];
    return total;
  }

 private:
  int64_t channels_;
  int64_t elements_;
  int64_t length_;
};

// A map as a loop sees it.
struct Shape {
  explicit Shape(const at::Tensor& x, int64_t the_groups)
      : images(x.size(0)),
        channels(x.size(1)),
        pixels(x.size(2) * x.size(3)),
        groups(the_groups),
        width(channels / groups) {}

  double group_elements() const { return static_cast<double>(width * pixels); }

  int64_t images, channels, pixels, groups;
  int64_t width;  // channels of a group
};

// A pass over the images of one batch.
template <typename T, bool kSilu>
class GroupNormPass {
 public:
  GroupNormPass(const Shape& shape, const float* weight, const float* bias)
      : shape_(shape),
        weight_(weight),
        bias_(bias),
        rows_(shape.channels, shape.pixels),
        scale_(rows_.make()),
        shift_(rows_.make()),
        first_(rows_.make()),
        second_(rows_.make()) {}

  // mean and inverse deviation [groups] of one image are written.
  void forward(const T* x, float* mean, float* inverse, T* y) {
    clear_sums();
    rows_.each(
        [&](int64_t at, int64_t count) { sum_row(x + at, count, first_.data(), second_.data()); });
    for (int64_t g = 0; g < shape_.groups; ++g) {
      double sum = 0;
      double square = 0;
      for_group(g, [&](int64_t c) {
        sum += rows_.sum(first_, c);
        square += rows_.sum(second_, c);
      });
      const double average = sum / shape_.group_elements();
      const double variance = std::max(square / shape_.group_elements() - average * average, 0.0);
      mean[g] = static_cast<float>(average);
      inverse[g] = static_cast<float>(1.0 / std::sqrt(variance + kernels::kGroupNormEps));
      if (!std::isfinite(square)) inverse[g] = std::nanf("");  // max() hides a NaN
    }
    set_affine(mean, inverse);
    rows_.each([&](int64_t at, int64_t count) {
      apply_row<kSilu>(x + at, scale_.data(), shift_.data(), count, y + at);
    });
  }

  // dweight and dbias [channels] are added to.
  void backward(const T* x,
                const T* dy,
                const float* mean,
                const float* inverse,
                T* dx,
                float* dweight,
                float* dbias) {
    set_affine(mean, inverse);
    clear_sums();
    dz_.resize(static_cast<size_t>(shape_.channels * shape_.pixels));
    rows_.each([&](int64_t at, int64_t count) {
      sum_gradient_row<kSilu>(x + at,
                              dy + at,
                              scale_.data(),
                              shift_.data(),
                              count,
                              dz_.data() + at,
                              first_.data(),
                              second_.data());
    });
    // With n = (x - mean) · inverse and dn = dz · weight, over the elements of a group:
    //   dx = inverse · (dn - average of dn - n · average of dn · n)
    std::vector<float> slope(static_cast<size_t>(shape_.groups));
    std::vector<float> offset(static_cast<size_t>(shape_.groups));
    for (int64_t g = 0; g < shape_.groups; ++g) {
      double sum_dn = 0;
      double sum_dn_n = 0;
      for_group(g, [&](int64_t c) {
        const double sum = rows_.sum(first_, c);
        const double product =
            (rows_.sum(second_, c) - static_cast<double>(mean[g]) * sum) * inverse[g];
        dbias[c] += static_cast<float>(sum);
        dweight[c] += static_cast<float>(product);
        sum_dn += weight_[c] * sum;
        sum_dn_n += weight_[c] * product;
      });
      const double rate = inverse[g] * sum_dn_n / shape_.group_elements() * inverse[g];
      slope[static_cast<size_t>(g)] = static_cast<float>(-rate);
      offset[static_cast<size_t>(g)] =
          static_cast<float>(rate * mean[g] - inverse[g] * sum_dn / shape_.group_elements());
    }
    rows_.fill(first_, [&](int64_t c) { return slope[static_cast<size_t>(c / shape_.width)]; });
    rows_.fill(second_, [&](int64_t c) { return offset[static_cast<size_t>(c / shape_.width)]; });
    rows_.each([&](int64_t at, int64_t count) {
      gradient_row(
          x + at, dz_.data() + at, scale_.data(), first_.data(), second_.data(), count, dx + at);
    });
  }

 private:
  template <typename Work>
  void for_group(int64_t g, const Work& work) const {
    for (int64_t c = g * shape_.width; c < (g + 1) * shape_.width; ++c) work(c);
  }

  void clear_sums() {
    std::ranges::fill(first_, 0.0F);
    std::ranges::fill(second_, 0.0F);
  }

  void set_affine(const float* mean, const float* inverse) {
    rows_.fill(scale_, [&](int64_t c) { return weight_[c] * inverse[c / shape_.width]; });
    rows_.fill(shift_, [&](int64_t c) {
      const int64_t g = c / shape_.width;
      return bias_[c] - mean[g] * weight_[c] * inverse[g];
    });
  }

  const Shape& shape_;
  const float* weight_;
  const float* bias_;
  Rows rows_;
  std::vector<float> scale_, shift_;
  std::vector<float> first_, second_;  // sums, or what dx is made of
  std::vector<float> dz_;              // of one image; takes less time than computing it again
};

template <typename T>
T* data_of(const at::Tensor& tensor) {
  return static_cast<T*>(tensor.data_ptr());
}

// Calls work with a pass for the type of x and whether silu follows.
template <typename Work>
void with_pass(const at::Tensor& x,
               const Shape& shape,
               const at::Tensor& weight,
               const at::Tensor& bias,
               bool silu,
               const Work& work) {
  const auto run = [&]<typename T, bool kSilu>() {
    work(T{}, GroupNormPass<T, kSilu>(shape, data_of<float>(weight), data_of<float>(bias)));
  };
  if (x.scalar_type() == at::kBFloat16) {
    silu ? run.template operator()<base::BFloat16, true>()
         : run.template operator()<base::BFloat16, false>();
  } else {
    silu ? run.template operator()<float, true>() : run.template operator()<float, false>();
  }
}

at::Tensor channels_last(const at::Tensor& x) {
  return x.contiguous(at::MemoryFormat::ChannelsLast);
}

struct GroupNorm : torch::autograd::Function<GroupNorm> {
  static at::Tensor forward(AutogradContext* context,
                            const at::Tensor& any_x,
                            const at::Tensor& weight,
                            const at::Tensor& bias,
                            int64_t groups,
                            bool silu) {
    const at::Tensor x = channels_last(any_x);
    const Shape shape(x, groups);
    const at::Tensor mean = at::empty({shape.images, groups}, at::kFloat);
    const at::Tensor inverse = at::empty({shape.images, groups}, at::kFloat);
    at::Tensor y = at::empty_like(x);
    with_pass(x, shape, weight, bias, silu, [&]<typename T>(T, auto pass) {
      const int64_t elements = shape.channels * shape.pixels;
      for (int64_t i = 0; i < shape.images; ++i) {
        pass.forward(data_of<T>(x) + i * elements,
                     data_of<float>(mean) + i * groups,
                     data_of<float>(inverse) + i * groups,
                     data_of<T>(y) + i * elements);
      }
    });
    context->save_for_backward({x, weight, bias, mean, inverse});
    context->saved_data["groups"] = groups;
    context->saved_data["silu"] = silu;
    return y;
  }

  static variable_list backward(AutogradContext* context, const variable_list& diff_outputs) {
    const auto saved = context->get_saved_variables();
    const at::Tensor& x = saved[0];
    const int64_t groups = context->saved_data["groups"].toInt();
    const Shape shape(x, groups);
    const at::Tensor dy = channels_last(diff_outputs[0]);
    const at::Tensor dx = at::empty_like(x);
    const at::Tensor dweight = at::zeros({shape.channels}, at::kFloat);
    const at::Tensor dbias = at::zeros({shape.channels}, at::kFloat);
    const bool silu = context->saved_data["silu"].toBool();
    with_pass(x, shape, saved[1], saved[2], silu, [&]<typename T>(T, auto pass) {
      const int64_t elements = shape.channels * shape.pixels;
      for (int64_t i = 0; i < shape.images; ++i) {
        pass.backward(data_of<T>(x) + i * elements,
                      data_of<T>(dy) + i * elements,
                      data_of<float>(saved[3]) + i * groups,
                      data_of<float>(saved[4]) + i * groups,
                      data_of<T>(dx) + i * elements,
                      data_of<float>(dweight),
                      data_of<float>(dbias));
      }
    });
    return {dx, dweight, dbias, {}, {}};
  }
};

}  // namespace

at::Tensor group_norm(const at::Tensor& x,
                      const at::Tensor& weight,
                      const at::Tensor& bias,
                      int64_t groups,
                      bool silu) {
  DITMOE_ASSERT(x.dim() == 4 && groups > 0 && x.size(1) % groups == 0 && x.is_cpu());
  DITMOE_ASSERT(x.scalar_type() == at::kFloat || x.scalar_type() == at::kBFloat16);
  DITMOE_ASSERT(weight.is_contiguous() && weight.scalar_type() == at::kFloat);
  DITMOE_ASSERT(bias.is_contiguous() && bias.scalar_type() == at::kFloat);
  return GroupNorm::apply(x, weight, bias, groups, silu);
}

}  // namespace ditmoe::training
