#include "ditmoe/networks/upcycle.h"

#include <algorithm>
#include <cmath>
#include <span>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "ditmoe/base/error.h"
#include "ditmoe/base/philox.h"
#include "ditmoe/formats/bytes.h"
#include "ditmoe/formats/checksum.h"
#include "ditmoe/formats/safetensors.h"

namespace ditmoe::networks {
namespace {

constexpr double kRouterStd = 0.02;  // of the reference's linear layers
constexpr int64_t kMostExperts = 4096;

bool is_sparse(const DitConfig& config) { return config.feed_forward == FeedForward::kMoe; }

// As published, 4·width is stored as 0.
int64_t stored_width(const DitConfig& config, int64_t expert_width) {
  return expert_width == 4 * config.width ? 0 : expert_width;
}

// The dense network's SwiGLU as shared experts, each of the network's width.
void plan_shared(const UpcycleOptions& options, UpcyclePlan& plan) {
  const int64_t hidden = plan.source.dense_width();
  const int64_t needed = (hidden + plan.source.width - 1) / plan.source.width;
  DitConfig& config = plan.config;
  config.shared_experts = options.shared_experts.value_or(needed);
  if (config.shared_experts < needed) {
    base::bad_input("--shared: expected at least {} for a SwiGLU of width {}, found {}",
                    needed,
                    hidden,
                    config.shared_experts);
  }
  config.expert_width = stored_width(config, options.expert_width.value_or(0));
  config.top_k = options.top_k.value_or(std::min<int64_t>(2, config.experts));
  plan.router_std = options.router_std.value_or(kRouterStd);
  plan.is_equal = true;
}

// Each of `before` experts, of which `chosen` a token gets, as often.
void plan_copies(const UpcycleOptions& options, UpcyclePlan& plan) {
  DitConfig& config = plan.config;
  const int64_t before = is_sparse(plan.source) ? plan.source.experts : 1;
  const int64_t chosen = is_sparse(plan.source) ? plan.source.top_k : 1;
  if (options.expert_width) base::bad_input("--expert-width: copies are as wide as what they copy");
  if (config.experts <= before || config.experts % before != 0) {
    base::bad_input(
        "--experts: expected a multiple of the {} experts there are, found {}: their shares of the "
        "softmax would change",
        before,
        config.experts);
  }
  const int64_t copies = config.experts / before;
  if (is_sparse(plan.source)) {
    if (options.shared_experts.value_or(config.shared_experts) != config.shared_experts) {
      base::bad_input("--shared: copies keep the {} shared experts there are, found {}",
                      config.shared_experts,
                      *options.shared_experts);
    }
    config.top_k = options.top_k.value_or(copies * chosen);
  } else {
    config.expert_width = stored_width(config, plan.source.dense_width());
    config.shared_experts = options.shared_experts.value_or(0);
    config.top_k = options.top_k.value_or(std::min<int64_t>(2, config.experts));
  }
  plan.router_std = options.router_std.value_or(0);
  plan.scale = static_cast<double>(copies * chosen) / static_cast<double>(config.top_k);
  plan.are_alike = plan.noise == 0 && plan.router_std == 0;
  const bool takes_whole =
      config.top_k == copies * chosen || (chosen == 1 && config.top_k <= copies);
  plan.is_equal = plan.are_alike && takes_whole;
}

// A file with more tensors is not read. The header of as many is far below its own limit.
void check_tensors(const DitConfig& config) {
  constexpr auto kMost = static_cast<int64_t>(formats::kMaxSafetensorsTensors);
  constexpr int64_t kTensorsOfExpert = 3;
  const auto tensors = static_cast<int64_t>(tensor_specs(config).size());
  if (tensors <= kMost) return;
  int64_t added = 0;  // by one more expert
  for (int64_t layer = 0; layer < config.depth; ++layer) {
    if (config.is_moe(layer)) added += kTensorsOfExpert;
  }
  base::bad_input("--experts: expected at most {}, as a file has at most {} tensors, found {}",
                  config.experts - (tensors - kMost + added - 1) / added,
                  kMost,
                  config.experts);
}

void check_deviation(const char* option, double value) {
  if (!std::isfinite(value) || value < 0 || value > 1) {
    base::bad_input("{}: expected a number from 0 to 1, found {}", option, value);
  }
}

}  // namespace

UpcycleMethod upcycle_method_from(std::string_view word, const std::string& what) {
  for (const UpcycleMethod method : {UpcycleMethod::kShared, UpcycleMethod::kCopies}) {
    if (word == to_word(method)) return method;
  }
  base::bad_input("{}: expected shared or copies, found {}", what, formats::printable(word));
}

std::string_view to_word(UpcycleMethod method) {
  return method == UpcycleMethod::kShared ? "shared" : "copies";
}

UpcyclePlan plan_upcycle(const DitConfig& source,
                         const UpcycleOptions& options,
                         const std::string& name) {
  if (source.feed_forward == FeedForward::kGelu) {
    base::bad_input(
        "{}: its MLPs are GELU with biases, which no SwiGLU expert computes; expected a network "
        "with SwiGLU or a MoE",
        name);
  }
  if (options.experts < 2 || options.experts > kMostExperts) {
    base::bad_input(
        "--experts: expected a number from 2 to {}, found {}", kMostExperts, options.experts);
  }
  if (options.top_k && (*options.top_k < 1 || *options.top_k > options.experts)) {
    base::bad_input(
        "--top-k: expected a number from 1 to {}, found {}", options.experts, *options.top_k);
  }
  check_deviation("--noise", options.noise);
  check_deviation("--router-std", options.router_std.value_or(0));
  UpcyclePlan plan;
  plan.source = source;
  plan.config = source;
  plan.config.feed_forward = FeedForward::kMoe;
  plan.config.experts = options.experts;
  if (!is_sparse(source)) plan.config.moe_placement = MoePlacement::kEvery;
  plan.method =
      options.method.value_or(is_sparse(source) ? UpcycleMethod::kCopies : UpcycleMethod::kShared);
  plan.noise = options.noise;
  plan.seed = options.seed;
  if (plan.method == UpcycleMethod::kCopies) {
    plan_copies(options, plan);
  } else if (is_sparse(source)) {
    base::bad_input("--method shared: {} has experts already, which only --method copies keeps",
                    name);
  } else {
    plan_shared(options, plan);
  }
  if (is_sparse(source) && source.moe_placement != MoePlacement::kEvery &&
      plan.config.dense_width() < source.dense_width()) {
    base::bad_input("--top-k: {} would make its dense blocks narrower", plan.config.top_k);
  }
  plan.config.validate("the upcycled network");
  check_tensors(plan.config);
  plan.are_tied = !is_sparse(source) && plan.router_std == 0;
  return plan;
}

UpcycledWeights::UpcycledWeights(const WeightSource& source, const UpcyclePlan& plan)
    : source_(source), plan_(plan) {
  for (TensorSpec& spec : tensor_specs(plan.config)) {
    shapes_.emplace(std::move(spec.name), std::move(spec.shape));
  }
  for (int64_t layer = 0; layer < plan.config.depth; ++layer) {
    const std::string block = fmt::format("blocks.{}.", layer);
    if (plan.config.is_moe(layer)) {
      add_moe(block);
    } else {  // its width follows from the experts', so it may grow
      add_swiglu(block + "mlp", block + "mlp", {});
    }
  }
  for (const auto& [name, shape] : shapes_) {
    if (!recipes_.contains(name)) recipes_[name].source = name;
  }
}

// recipe: first row, scale, where 0 is a SwiGLU whose output is 0, and noise.
void UpcycledWeights::add_swiglu(const std::string& name,
                                 const std::string& source,
                                 const Recipe& recipe) {
  for (const char* part : {".gate_proj.weight", ".up_proj.weight"}) {
    Recipe& rows = recipes_[name + part];
    rows = recipe;
    rows.kind = Kind::kRows;
    rows.source = source + part;
  }
  Recipe& columns = recipes_[name + ".down_proj.weight"];
  columns = recipe;
  columns.kind = recipe.scale == 0 ? Kind::kZero : Kind::kColumns;
  columns.source = source + ".down_proj.weight";
}

void UpcycledWeights::add_moe(const std::string& block) {
  const DitConfig& config = plan_.config;
  const bool from_dense = !is_sparse(plan_.source);
  const bool keeps_shared = plan_.method == UpcycleMethod::kShared;
  const int64_t before = from_dense ? 1 : plan_.source.experts;
  for (int64_t expert = 0; expert < config.experts; ++expert) {
    Recipe recipe;
    recipe.scale = keeps_shared ? 0 : plan_.scale;
    if (keeps_shared)
      recipe.first_row = expert * config.routed_width() % plan_.source.dense_width();
    if (keeps_shared || expert >= before) recipe.noise = plan_.noise;
    add_swiglu(fmt::format("{}moe.experts.{}", block, expert),
               from_dense ? block + "mlp" : fmt::format("{}moe.experts.{}", block, expert % before),
               recipe);
  }
  Recipe& router = recipes_[block + "moe.gate.weight"];
  router.kind = Kind::kRouter;
  router.source = from_dense ? block + "mlp.gate_proj.weight" : block + "moe.gate.weight";
  router.noise = plan_.router_std;
  if (!from_dense || config.shared_experts == 0) return;
  Recipe shared;
  shared.scale = keeps_shared ? 1 : 0;
  add_swiglu(block + "moe.shared_experts", block + "mlp", shared);
}

base::DType UpcycledWeights::stored_dtype(const std::string& name) const {
  return source_.stored_dtype(recipes_.at(name).source);
}

base::DType UpcycledWeights::dtype(const std::string& name) const {
  return stored_dtype(name) == base::DType::kBF16 ? base::DType::kBF16 : base::DType::kF32;
}

const base::Shape& UpcycledWeights::shape(const std::string& name) const {
  return shapes_.at(name);
}

void UpcycledWeights::read(const std::string& name,
                           int64_t first,
                           int64_t count,
                           base::DType dtype,
                           std::byte* dst) const {
  const Recipe& recipe = recipes_.at(name);
  if (recipe.kind == Kind::kSame) {
    source_.read(recipe.source, first, count, dtype, dst);
    return;
  }
  if (count == 0) return;
  base::Tensor values(base::DType::kF32, {count});
  float* out = values.as<float>().data();
  const int64_t columns = shapes_.at(name).at(1);
  if (recipe.kind == Kind::kRows) read_rows(recipe, first, count, out);
  if (recipe.kind == Kind::kColumns) read_columns(recipe, columns, first, count, out);
  if (recipe.kind == Kind::kRouter) {
    read_router(name, recipe, first, count, out);
  } else if (recipe.noise > 0) {
    add_noise(name, recipe.noise, true, columns, first, count, out);
  }
  base::convert_into(values.view(), dtype, dst);
}

void UpcycledWeights::read_rows(const Recipe& recipe,
                                int64_t first,
                                int64_t count,
                                float* out) const {
  const base::Shape& shape = source_.shape(recipe.source);
  const int64_t size = base::num_elements(shape);
  while (count > 0) {
    const int64_t from = (recipe.first_row * shape[1] + first) % size;
    const int64_t run = std::min(count, size - from);
    source_.read(recipe.source, from, run, base::DType::kF32, reinterpret_cast<std::byte*>(out));
    first += run;
    count -= run;
    out += run;
  }
}

void UpcycledWeights::read_columns(
    const Recipe& recipe, int64_t columns, int64_t first, int64_t count, float* out) const {
  const int64_t live = source_.shape(recipe.source)[1];
  DITMOE_ASSERT(live <= columns);
  const int64_t first_row = first / columns;
  const int64_t rows = (first + count - 1) / columns + 1 - first_row;
  base::Tensor block(base::DType::kF32, {rows, live});
  source_.read(recipe.source, first_row * live, rows * live, base::DType::kF32, block.data());
  const std::span<const float> values = std::as_const(block).as<float>();
  const auto scale = static_cast<float>(recipe.scale);
  for (int64_t i = 0; i < count; ++i) {
    const int64_t column = (first + i) % columns;
    const int64_t row = (first + i) / columns - first_row;
    out[i] = column < live ? scale * values[static_cast<size_t>(row * live + column)] : 0;
  }
}

void UpcycledWeights::read_router(
    const std::string& name, const Recipe& recipe, int64_t first, int64_t count, float* out) const {
  const bool from_dense = !is_sparse(plan_.source);
  if (!from_dense) read_rows(recipe, first, count, out);
  if (recipe.noise == 0) return;
  // The first copy of each expert keeps its row.
  const int64_t kept = from_dense ? 0 : base::num_elements(source_.shape(recipe.source));
  const int64_t skipped = std::clamp<int64_t>(kept - first, 0, count);
  add_noise(name,
            recipe.noise,
            false,
            plan_.config.width,
            first + skipped,
            count - skipped,
            out + skipped);
}

// Noise of an element depends on its row and column alone.
void UpcycledWeights::add_noise(const std::string& name,
                                double deviation,
                                bool relative,
                                int64_t columns,
                                int64_t first,
                                int64_t count,
                                float* out) const {
  const uint64_t index = formats::hash64(std::as_bytes(std::span(name)));
  std::vector<float> row_noise(static_cast<size_t>(columns));
  for (int64_t done = 0; done < count;) {
    const int64_t row = (first + done) / columns;
    const int64_t column = (first + done) % columns;
    const int64_t run = std::min(columns - column, count - done);
    base::fill_normal(row_noise,
                      {.seed = plan_.seed, .index = index, .stream = static_cast<uint32_t>(row)});
    for (int64_t i = 0; i < run; ++i) {
      const float noise =
          static_cast<float>(deviation) * row_noise[static_cast<size_t>(column + i)];
      out[done + i] += relative ? out[done + i] * noise : noise;
    }
    done += run;
  }
}

}  // namespace ditmoe::networks
