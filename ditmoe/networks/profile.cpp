#include "ditmoe/networks/profile.h"

#include "ditmoe/base/error.h"

namespace ditmoe::networks {

std::string_view name_of(Op op) {
  switch (op) {
    case Op::kCondition:
      return "condition";
    case Op::kNorm:
      return "residual+norm";
    case Op::kQkv:
      return "qkv";
    case Op::kAttention:
      return "attention";
    case Op::kProj:
      return "proj";
    case Op::kRouter:
      return "router+sort";
    case Op::kGather:
      return "gather";
    case Op::kGateUp:
      return "gate-up+swiglu";
    case Op::kDown:
      return "down";
    case Op::kTimeExperts:
      return "time experts";
    case Op::kCombine:
      return "combine";
    case Op::kPatches:
      return "patches";
    case Op::kCount:
      break;
  }
  DITMOE_ASSERT(false);
}

}  // namespace ditmoe::networks
