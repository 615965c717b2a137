#include "ditmoe/networks/model_writer.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <limits>
#include <span>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "ditmoe/base/error.h"
#include "ditmoe/base/function_ref.h"
#include "ditmoe/base/json.h"
#include "ditmoe/base/progress.h"
#include "ditmoe/formats/bytes.h"
#include "ditmoe/formats/safetensors.h"
#include "ditmoe/kernels/position_embedding.h"
#include "ditmoe/networks/diffusers_names.h"
#include "ditmoe/networks/shape_table.h"

namespace ditmoe::networks {
namespace {

// One tensor to write: elements of a weight, from one on.
struct Planned {
  formats::TensorEntry entry;
  std::string source;
  int64_t first = 0;
};

class Plan {
 public:
  Plan(const WeightSource& weights, std::optional<base::DType> dtype)
      : weights_(weights), dtype_(dtype) {}

  void add(const std::string& name, const std::string& source) {
    add(name, source, weights_.shape(source), 0);
  }

  void add(const std::string& name, const std::string& source, base::Shape shape, int64_t first) {
    const base::DType dtype = dtype_.value_or(weights_.stored_dtype(source));
    tensors_.push_back({{name, dtype, std::move(shape), 0, 0}, source, first});
  }

  // Larger types first: every tensor is aligned for its type.
  std::vector<Planned> take() {
    std::ranges::stable_sort(tensors_, std::greater(), [](const Planned& tensor) {
      return base::size_of(tensor.entry.dtype);
    });
    return std::move(tensors_);
  }

 private:
  const WeightSource& weights_;
  std::optional<base::DType> dtype_;
  std::vector<Planned> tensors_;
};

std::vector<formats::TensorEntry> entries_of(const std::vector<Planned>& tensors) {
  std::vector<formats::TensorEntry> entries;
  for (const Planned& tensor : tensors) entries.push_back(tensor.entry);
  return entries;
}

// Whether one of these floats is infinite, told by its bits without the sign. Looks at all of them:
// so the loop vectorises, and costs little beside the conversion.
template <typename Bits>
bool has_infinity(const std::byte* values, int64_t count, Bits infinity) {
  constexpr auto kMagnitude = static_cast<Bits>(std::numeric_limits<Bits>::max() >> 1);
  Bits found = 0;
  for (int64_t i = 0; i < count; ++i) {
    Bits bits;
    std::memcpy(&bits, values + static_cast<size_t>(i) * sizeof(Bits), sizeof(Bits));
    found |= static_cast<Bits>((bits & kMagnitude) == infinity ? 1 : 0);
  }
  return found != 0;
}

bool has_infinity(const base::TensorView& values) {
  const int64_t count = values.size();
  if (values.dtype == base::DType::kF16) return has_infinity<uint16_t>(values.data, count, 0x7C00);
  if (values.dtype == base::DType::kBF16) return has_infinity<uint16_t>(values.data, count, 0x7F80);
  if (values.dtype == base::DType::kF32)
    return has_infinity<uint32_t>(values.data, count, 0x7F800000);
  return false;  // nothing is wider than F64
}

double largest_of(base::DType dtype) {
  if (dtype == base::DType::kF16) return base::to_float(base::Half{0x7BFF});
  if (dtype == base::DType::kBF16) return base::to_float(base::BFloat16{0x7F7F});
  return std::numeric_limits<float>::max();
}

// Refuses values, the elements of a tensor from `first` on, that were finite before they were
// rounded to their type. Infinities of the source's own are let be.
void check_overflow(const WeightSource& weights,
                    const Planned& tensor,
                    int64_t first,
                    const base::TensorView& values,
                    const std::string& path) {
  if (!has_infinity(values)) return;
  base::Tensor exact(base::DType::kF64, values.shape);
  weights.read(tensor.source, first, values.size(), base::DType::kF64, exact.data());
  const base::Tensor rounded = base::convert(values, base::DType::kF64);
  const auto before = exact.as<double>();
  const auto after = rounded.as<double>();
  for (size_t i = 0; i < before.size(); ++i) {
    if (!std::isfinite(before[i]) || std::isfinite(after[i])) continue;
    base::bad_input("{}: tensor '{}': expected values of at most {}, the largest of {}, found {}",
                    path,
                    tensor.source,
                    largest_of(values.dtype),
                    base::name_of(values.dtype),
                    before[i]);
  }
}

// path: what is written, for messages.
void write_values(const WeightSource& weights,
                  const std::vector<Planned>& tensors,
                  const std::string& path,
                  base::FunctionRef<void(std::span<const std::byte>)> write) {
  constexpr int64_t kPiece = int64_t{4} << 20;  // elements
  constexpr int kMegabyte = 20;
  uint64_t total = 0;
  for (const Planned& tensor : tensors) {
    total += formats::tensor_bytes(tensor.entry.shape, tensor.entry.dtype).value_or(0);
  }
  base::Progress progress("write", static_cast<int64_t>(total >> kMegabyte), "MiB");
  base::Tensor piece(base::DType::kF64, {kPiece});
  uint64_t written = 0;
  for (const Planned& tensor : tensors) {
    const int64_t size = base::num_elements(tensor.entry.shape);
    const base::DType dtype = tensor.entry.dtype;
    for (int64_t done = 0; done < size; done += kPiece) {
      const int64_t count = std::min(kPiece, size - done);
      const size_t bytes = static_cast<size_t>(count) * base::size_of(dtype);
      weights.read(tensor.source, tensor.first + done, count, dtype, piece.data());
      check_overflow(weights, tensor, tensor.first + done, {dtype, {count}, piece.data()}, path);
      write({piece.data(), bytes});
      written += bytes;
      progress.update(static_cast<int64_t>(written >> kMegabyte));
    }
  }
}

void write_folder(const std::string& folder,
                  const std::string& stem,
                  const WeightSource& weights,
                  const std::vector<Planned>& tensors,
                  const Metadata& metadata,
                  uint64_t shard_bytes,
                  const std::string& config_json = "") {
  formats::SafetensorsFolderWriter writer(folder, stem, entries_of(tensors), metadata, shard_bytes);
  if (!config_json.empty()) writer.add_text("config.json", config_json);
  write_values(weights, tensors, folder, [&writer](std::span<const std::byte> bytes) {
    writer.write(bytes);
  });
  writer.commit();
}

// What diffusers has to know; the rest are its defaults.
std::string diffusers_config(const DitConfig& config) {
  const base::Json json = {
      {"_class_name", "DiTTransformer2DModel"},
      {"activation_fn", "gelu-approximate"},
      {"attention_bias", true},
      {"attention_head_dim", config.head_dim()},
      {"in_channels", config.channels},
      {"norm_elementwise_affine", false},
      {"norm_eps", 1e-6},  // the original's; the default there is 1e-5
      {"norm_type", "ada_norm_zero"},
      {"num_attention_heads", config.heads},
      {"num_embeds_ada_norm", config.num_classes},
      {"num_layers", config.depth},
      {"out_channels", config.output_channels()},
      {"patch_size", config.patch_size},
      {"sample_size", config.image_size},
  };
  return json.dump(2) + "\n";
}

// The position embedding must be the computed one, as exactly as its type can hold it.
void check_position(const WeightSource& weights, const std::string& source) {
  const DitConfig& config = weights.config();
  const std::string name = "pos_embed";
  const base::Tensor found = weights.floats(name);
  base::Tensor expected(base::DType::kF32, found.shape());
  kernels::sincos_position_embedding(config.grid(), config.width, expected.as<float>());
  const base::DType dtype = weights.stored_dtype(name);
  const float tolerance = dtype == base::DType::kBF16  ? 0x1p-8F
                          : dtype == base::DType::kF16 ? 0x1p-11F
                                                       : 1e-6F;
  for (int64_t i = 0; i < found.size(); ++i) {
    const float value = found.as<float>()[static_cast<size_t>(i)];
    const float computed = expected.as<float>()[static_cast<size_t>(i)];
    if (std::abs(value - computed) <= tolerance) continue;
    base::bad_input(
        "{}: tensor '{}': expected the sine-cosine embedding, which a diffusers model computes "
        "instead of storing it, {} at element {}, found {}",
        source,
        name,
        computed,
        i,
        value);
  }
}

std::vector<Planned> plan_diffusers(const WeightSource& weights, std::optional<base::DType> dtype) {
  const int64_t width = weights.config().width;
  Plan plan(weights, dtype);
  for (const auto& [canonical, name] : kDiffusersOutside) plan.add(name, canonical);
  for (int64_t block = 0; block < weights.config().depth; ++block) {
    const std::string prefix = fmt::format("blocks.{}.", block);
    for (const auto& [canonical, name] : kDiffusersRepeated) {
      plan.add(diffusers_in_block(block, name), canonical);
    }
    for (int64_t part = 0; part < 3; ++part) {
      const std::string name = diffusers_in_block(block, fmt::format("attn1.to_{}.", "qkv"[part]));
      plan.add(name + "weight", prefix + "attn.qkv.weight", {width, width}, part * width * width);
      plan.add(name + "bias", prefix + "attn.qkv.bias", {width}, part * width);
    }
    for (const auto& [canonical, name] : kDiffusersInBlock) {
      plan.add(diffusers_in_block(block, name), prefix + canonical);
    }
  }
  return plan.take();
}

}  // namespace

AttentionNames attention_names_from(std::string_view word, const std::string& what) {
  if (word == "qkv") return AttentionNames::kQkv;
  if (word == "wqkv") return AttentionNames::kWqkv;
  base::bad_input("{}: expected qkv or wqkv, found {}", what, formats::printable(word));
}

bool names_a_file(const std::string& path) { return path.ends_with(".safetensors"); }

void write_model(const std::string& path,
                 const WeightSource& weights,
                 const Metadata& metadata,
                 const WriteOptions& options) {
  Plan plan(weights, options.dtype);
  for (const TensorSpec& spec : tensor_specs(weights.config())) {
    plan.add(options.names == AttentionNames::kWqkv ? wqkv_name(spec.name) : spec.name, spec.name);
  }
  const std::vector<Planned> tensors = plan.take();
  if (!names_a_file(path)) {
    write_folder(path, "model", weights, tensors, metadata, options.shard_bytes);
    return;
  }
  formats::SafetensorsWriter writer(path, entries_of(tensors), metadata);
  write_values(
      weights, tensors, path, [&writer](std::span<const std::byte> bytes) { writer.write(bytes); });
  writer.commit();
}

void expect_diffusers_dit(const DitConfig& config, const std::string& source) {
  const bool has_time_experts = config.time_experts > 0;
  if (config.feed_forward == FeedForward::kGelu && !config.qk_norm && !has_time_experts) return;
  base::bad_input(
      "{}: expected a DiT with a GELU MLP, all that diffusers has a model for, found feed_forward "
      "{}{}{}",
      source,
      to_word(config.feed_forward),
      config.qk_norm ? " with normalised queries and keys" : "",
      has_time_experts ? " with experts chosen by the timestep" : "");
}

void write_diffusers_dit(const std::string& folder,
                         const WeightSource& weights,
                         const Metadata& metadata,
                         const std::string& source,
                         const WriteOptions& options) {
  const DitConfig& config = weights.config();
  expect_diffusers_dit(config, source);
  check_position(weights, source);
  Metadata all = metadata;
  all["format"] = "pt";  // without, diffusers does not read the file
  write_folder(folder,
               "diffusion_pytorch_model",
               weights,
               plan_diffusers(weights, options.dtype),
               all,
               options.shard_bytes,
               diffusers_config(config));
}

}  // namespace ditmoe::networks
