#pragma once

#include <cstdint>
#include <vector>

#include <torch/types.h>

#include "ditmoe/networks/dit_config.h"
#include "ditmoe/training/flat_tensors.h"

namespace ditmoe::training {

// A PatchGAN (Isola et al., arXiv 1611.07004) with GroupNorm in the place of BatchNorm, so that an
// image's scores do not depend on the batch: convolutions 4x4 of `width`, 2 · width and 4 · width
// channels, the first two with stride 2, and one more to a score for each patch of 34x34 pixels;
// leaky ReLU of slope 0.2 in between.
std::vector<networks::TensorSpec> critic_specs(int64_t image_channels, int64_t width);

// Weights to begin with, drawn from the seed alone.
void initialise_critic(const FlatLayout& layout, const at::Tensor& values, uint64_t seed);

// Scores [B, 1, h, w] f32 of images f32 [B, C, H, W], at least 24 pixels high and wide; high for
// what looks like an image.
at::Tensor critic_scores(const Leaves& weights, const at::Tensor& images);

// The hinge loss of the critic, (mean of max(0, 1 - real) + mean of max(0, 1 + fake)) / 2, and of
// whom it judges, - mean of fake (Lim and Ye, arXiv 1705.02894).
at::Tensor critic_loss(const at::Tensor& real_scores, const at::Tensor& fake_scores);
at::Tensor adversarial_loss(const at::Tensor& fake_scores);

}  // namespace ditmoe::training
