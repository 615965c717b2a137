#pragma once

#include <functional>

#include <torch/types.h>

namespace ditmoe::autograd {

// A function of tensors that may use leaves besides its inputs; again: whether it runs for
// backward.
using Recomputable =
    std::function<std::vector<at::Tensor>(const std::vector<at::Tensor>& inputs, bool again)>;

// body(inputs), of which nothing but the inputs is kept for backward, which runs it again
// (activation checkpointing, Chen et al., arXiv 1604.06174). body must give the same numbers both
// times, and what it refers to must outlive the graph.
std::vector<at::Tensor> recompute(const Recomputable& body, const std::vector<at::Tensor>& inputs);

}  // namespace ditmoe::autograd
