#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "ditmoe/base/arena.h"
#include "ditmoe/base/tensor.h"
#include "ditmoe/base/thread_pool.h"
#include "ditmoe/kernels/attention.h"
#include "ditmoe/kernels/matmul.h"
#include "ditmoe/networks/matrix_source.h"

namespace ditmoe::networks {

// down(silu(gate(x)) · up(x)), without biases: one expert, the shared experts together, or the
// dense control's feed-forward. The hidden columns are cut into chunks, each packed as [gate | up],
// so that a tile's gate and up values stay in the cache until they are multiplied with each other.
struct SwigluWeights {
  std::vector<kernels::PackedMatrix> gate_up;  // D -> 2 · chunk
  kernels::PackedMatrix down;                  // F -> D
};

// fc2(gelu_tanh(fc1(x))), with biases; fc1 in chunks of hidden columns.
struct GeluWeights {
  std::vector<kernels::PackedMatrix> fc1;  // D -> chunk
  kernels::PackedMatrix fc2;               // F -> D
};

// Experts of one sparse block, without the shared ones.
struct RoutedWeights {
  base::Tensor router_ED;  // f32 whatever the precision: rounded, it would choose other experts
  base::Tensor bias_E;     // of the router, empty without
  std::vector<SwigluWeights> experts;
};

// Experts before a block of a Switch-DiT, chosen by an image's timestep; each multiplies every row.
struct TimeExpertWeights {
  base::Tensor gate_ED;                        // f32, as the router's
  base::Tensor gate_E;                         // its bias
  std::vector<kernels::PackedMatrix> experts;  // D -> D
};

// One transformer block. Of its feed-forward, `routed` is there in sparse blocks; `swiglu` takes
// every token, as the shared experts of a sparse block or alone in a dense control; `gelu` is a
// DiT's.
struct BlockWeights {
  kernels::PackedMatrix modulation;        // D -> 6D: shift, scale, gate of attention, then of
                                           // the feed-forward
  std::vector<kernels::PackedMatrix> qkv;  // D -> 3D at once in f32, else D -> D each
  kernels::PackedMatrix proj;              // D -> D
  std::vector<float> qk_norm;              // q weight, q bias, k weight, k bias; empty without
  std::optional<RoutedWeights> routed;
  std::optional<SwigluWeights> swiglu;
  std::optional<GeluWeights> gelu;
  std::optional<TimeExpertWeights> timed;

  // Views into qk_norm, which must not be empty.
  kernels::QkNorm norm_views() const;
};

// All weights of a network, packed for this CPU. The large products are in the precision asked for;
// the modulation is in bfloat16 where that is int8, since its errors would reach every token; the
// patch embedding, the timestep's MLP and the last layer are in f32.
struct DitWeights {
  kernels::PackedMatrix patch;   // C·P·P -> D
  base::Tensor position_TD;      // added to the patches
  kernels::PackedMatrix time_0;  // 256 -> D
  kernels::PackedMatrix time_2;  // D -> D
  base::Tensor labels_LD;        // num_classes + 1 rows
  std::vector<BlockWeights> blocks;
  kernels::PackedMatrix final_modulation;  // D -> 2D: shift, scale
  kernels::PackedMatrix final_linear;      // D -> P·P·C_out
};

// Asks source for all matrices; matmul and arena, which small ones are packed into, must outlive
// the result.
DitWeights load_dit_weights(const MatrixSource& source,
                            kernels::Matmul& matmul,
                            base::Arena& arena,
                            base::ThreadPool& pool);

}  // namespace ditmoe::networks
