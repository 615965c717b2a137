#include "ditmoe/networks/dit_config.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <limits>
#include <optional>
#include <type_traits>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "ditmoe/base/error.h"

namespace ditmoe::networks {
namespace {

template <typename Enum>
struct Word {
  Enum value;
  std::string_view word;
};

constexpr std::array kFeedForwardWords = {Word<FeedForward>{FeedForward::kMoe, "moe"},
                                          Word<FeedForward>{FeedForward::kGelu, "gelu"},
                                          Word<FeedForward>{FeedForward::kSwiglu, "swiglu"}};
constexpr std::array kPlacementWords = {Word<MoePlacement>{MoePlacement::kEvery, "every"},
                                        Word<MoePlacement>{MoePlacement::kAlternate, "alternate"},
                                        Word<MoePlacement>{MoePlacement::kDeepHalf, "deep_half"}};
constexpr std::array kObjectiveWords = {Word<Objective>{Objective::kDdpm, "ddpm"},
                                        Word<Objective>{Objective::kRectifiedFlow, "rf"}};
constexpr std::array kPoolWords = {Word<BalancePool>{BalancePool::kSequence, "sequence"},
                                   Word<BalancePool>{BalancePool::kBatch, "batch"}};

template <typename Enum, size_t kSize>
std::string_view word_of(const std::array<Word<Enum>, kSize>& words, Enum value) {
  for (const auto& entry : words) {
    if (entry.value == value) return entry.word;
  }
  DITMOE_ASSERT(false && "an enumerator has no word");
  return {};
}

template <typename Enum, size_t kSize>
Enum value_of(const std::array<Word<Enum>, kSize>& words,
              std::string_view word,
              const std::string& what) {
  std::vector<std::string_view> allowed;
  for (const auto& entry : words) {
    if (entry.word == word) return entry.value;
    allowed.push_back(entry.word);
  }
  base::bad_input("{}: expected one of {}, found '{}'", what, fmt::join(allowed, ", "), word);
}

// Every field with its key, in the order it is written: the one list behind both directions.
template <typename Config, typename Visit>
void visit_fields(Config& config, Visit&& visit) {
  visit("image_size", config.image_size);
  visit("patch_size", config.patch_size);
  visit("channels", config.channels);
  visit("width", config.width);
  visit("depth", config.depth);
  visit("heads", config.heads);
  visit("num_classes", config.num_classes);
  visit("feed_forward", config.feed_forward);
  visit("experts", config.experts);
  visit("top_k", config.top_k);
  visit("shared_experts", config.shared_experts);
  visit("expert_width", config.expert_width);
  visit("moe_placement", config.moe_placement);
  visit("qk_norm", config.qk_norm);
  visit("learn_sigma", config.learn_sigma);
  visit("objective", config.objective);
  visit("balance_factor", config.balance_factor);
  visit("balance_pool", config.balance_pool);
}

// One field out of JSON; `what` names source and key in messages.
struct FieldReader {
  const base::Json& json;
  const std::string& what;

  void operator()(int64_t& value) const {
    // A number beyond int64 is parsed as unsigned.
    const bool fits = json.is_number_integer() &&
                      (!json.is_number_unsigned() ||
                       json.get<uint64_t>() <= uint64_t{std::numeric_limits<int64_t>::max()});
    if (!fits) base::bad_input("{}: expected a whole number, found {}", what, found());
    value = json.get<int64_t>();
  }

  void operator()(double& value) const {
    if (!json.is_number()) base::bad_input("{}: expected a number, found {}", what, found());
    value = json.get<double>();
  }

  void operator()(bool& value) const {
    if (!json.is_boolean()) base::bad_input("{}: expected true or false, found {}", what, found());
    value = json.get<bool>();
  }

  void operator()(FeedForward& value) const { value = feed_forward_from(word(), what); }

  void operator()(MoePlacement& value) const { value = moe_placement_from(word(), what); }

  void operator()(Objective& value) const { value = objective_from(word(), what); }

  void operator()(BalancePool& value) const { value = balance_pool_from(word(), what); }

  std::string word() const {
    if (!json.is_string()) base::bad_input("{}: expected a word, found {}", what, found());
    return json.get<std::string>();
  }

  // What stands there instead, short enough for one line.
  std::string found() const {
    return json.is_structured() ? json.type_name() : json.dump().substr(0, 40);
  }
};

// Collects names and shapes of one network in canonical order.
class SpecList {
 public:
  void add(std::string name, base::Shape shape) {
    specs_.push_back({std::move(name), std::move(shape)});
  }

  void add_linear(const std::string& name, int64_t out, int64_t in) {
    add(name + ".weight", {out, in});
    add(name + ".bias", {out});
  }

  void add_norm(const std::string& name, int64_t width) {
    add(name + ".weight", {width});
    add(name + ".bias", {width});
  }

  void add_swiglu(const std::string& name, int64_t width, int64_t hidden) {
    add(name + ".gate_proj.weight", {hidden, width});
    add(name + ".up_proj.weight", {hidden, width});
    add(name + ".down_proj.weight", {width, hidden});
  }

  std::vector<TensorSpec> take() { return std::move(specs_); }

 private:
  std::vector<TensorSpec> specs_;
};

void add_feed_forward(SpecList& list, const DitConfig& config, int64_t layer) {
  const std::string block = fmt::format("blocks.{}.", layer);
  const int64_t width = config.width;
  if (config.is_moe(layer)) {
    for (int64_t expert = 0; expert < config.experts; ++expert) {
      list.add_swiglu(fmt::format("{}moe.experts.{}", block, expert), width, config.routed_width());
    }
    list.add(block + "moe.gate.weight", {config.experts, width});
    if (config.shared_experts > 0) {
      list.add_swiglu(block + "moe.shared_experts", width, config.shared_width());
    }
  } else if (config.feed_forward == FeedForward::kGelu) {
    list.add_linear(block + "mlp.fc1", config.dense_width(), width);
    list.add_linear(block + "mlp.fc2", width, config.dense_width());
  } else {
    list.add_swiglu(block + "mlp", width, config.dense_width());
  }
}

int64_t count_moe_layers(const DitConfig& config) {
  int64_t count = 0;
  for (int64_t layer = 0; layer < config.depth; ++layer) count += config.is_moe(layer) ? 1 : 0;
  return count;
}

struct Size {
  std::string_view name;
  int64_t depth;
  int64_t width;
  int64_t heads;
};

// Fei et al. 2024, table 1; S to XL are those of DiT (Peebles & Xie 2023).
constexpr std::array<Size, 5> kSizes = {{{"S", 12, 384, 6},
                                         {"B", 12, 768, 12},
                                         {"L", 24, 1024, 16},
                                         {"XL", 28, 1152, 16},
                                         {"G", 40, 1408, 16}}};

// Takes a whole number of at most four digits off the front of text.
std::optional<int64_t> take_number(std::string_view& text) {
  int64_t value = 0;
  const auto [end, error] =
      std::from_chars(text.data(), text.data() + std::min<size_t>(text.size(), 4), value);
  if (error != std::errc() || value < 1) return std::nullopt;
  text.remove_prefix(static_cast<size_t>(end - text.data()));
  return value;
}

bool take_letter(std::string_view& text, char letter) {
  if (!text.starts_with(letter)) return false;
  text.remove_prefix(1);
  return true;
}

// Reads what follows "<size>/<patch>" into config; false where it is no suffix of ours.
bool read_suffix(std::string_view suffix, DitConfig& config) {
  if (suffix.empty()) {
    config.feed_forward = FeedForward::kGelu;
    return true;
  }
  if (suffix == "-swiglu") {
    config.feed_forward = FeedForward::kSwiglu;
    return true;
  }
  if (!take_letter(suffix, '-')) return false;
  const auto experts = take_number(suffix);
  if (!experts || !take_letter(suffix, 'E')) return false;
  const auto top_k = take_number(suffix);
  if (!top_k || !take_letter(suffix, 'A') || !suffix.empty()) return false;
  config.experts = *experts;
  config.top_k = *top_k;
  return *top_k <= *experts;
}

}  // namespace

int64_t DitConfig::dense_width() const {
  return feed_forward == FeedForward::kGelu ? 4 * width : routed_width() * top_k + shared_width();
}

bool DitConfig::is_moe(int64_t layer) const {
  if (feed_forward != FeedForward::kMoe) return false;
  switch (moe_placement) {
    case MoePlacement::kEvery:
      return true;
    case MoePlacement::kAlternate:
      return layer % 2 == 1;
    case MoePlacement::kDeepHalf:
      return layer >= depth / 2;
  }
  return false;
}

void DitConfig::validate(const std::string& source) const {
  const auto check_range = [&](const char* key, int64_t value, int64_t low, int64_t high) {
    if (value < low || value > high) {
      base::bad_input("{}: {} must be from {} to {}, found {}", source, key, low, high, value);
    }
  };
  check_range("image_size", image_size, 1, 8192);
  check_range("patch_size", patch_size, 1, image_size);
  check_range("channels", channels, 1, 4096);
  check_range("width", width, 4, 65536);
  check_range("depth", depth, 1, 1024);
  check_range("heads", heads, 1, width);
  check_range("num_classes", num_classes, 1, int64_t{1} << 24);
  const auto check_multiple = [&](const char* key, int64_t value, const char* of, int64_t divisor) {
    if (value % divisor != 0) {
      base::bad_input(
          "{}: {} must be a multiple of {} {}, found {}", source, key, of, divisor, value);
    }
  };
  check_multiple("image_size", image_size, "patch_size", patch_size);
  check_multiple("width", width, "heads", heads);
  // The position embedding has a sine and a cosine half for each of two axes.
  check_multiple("width", width, "the number", 4);
  if (feed_forward != FeedForward::kGelu) {
    if (feed_forward == FeedForward::kMoe) {
      check_range("experts", experts, 1, 4096);
      check_range("top_k", top_k, 1, experts);
    }
    check_range("top_k", top_k, 1, 4096);
    check_range("shared_experts", shared_experts, 0, 256);
    check_range("expert_width", expert_width, 0, int64_t{1} << 20);
  }
  if (feed_forward == FeedForward::kMoe && moe_placement == MoePlacement::kAlternate && depth < 2) {
    base::bad_input(
        "{}: moe_placement alternate needs depth of 2 or more, found {}", source, depth);
  }
  if (!std::isfinite(balance_factor) || balance_factor < 0) {
    base::bad_input("{}: balance_factor must not be negative, found {}", source, balance_factor);
  }
}

std::vector<TensorSpec> tensor_specs(const DitConfig& config) {
  SpecList list;
  const int64_t width = config.width;
  const int64_t patch = config.patch_size;
  list.add("pos_embed", {1, config.tokens(), width});
  list.add("x_embedder.proj.weight", {width, config.channels, patch, patch});
  list.add("x_embedder.proj.bias", {width});
  list.add_linear("t_embedder.mlp.0", width, kTimeFrequencies);
  list.add_linear("t_embedder.mlp.2", width, width);
  list.add("y_embedder.embedding_table.weight", {config.num_classes + 1, width});
  for (int64_t layer = 0; layer < config.depth; ++layer) {
    const std::string block = fmt::format("blocks.{}.", layer);
    list.add_linear(block + "attn.qkv", 3 * width, width);
    if (config.qk_norm) {
      list.add_norm(block + "attn.q_norm", config.head_dim());
      list.add_norm(block + "attn.k_norm", config.head_dim());
    }
    list.add_linear(block + "attn.proj", width, width);
    add_feed_forward(list, config, layer);
    list.add_linear(block + "adaLN_modulation.1", 6 * width, width);
  }
  list.add_linear("final_layer.linear", patch * patch * config.output_channels(), width);
  list.add_linear("final_layer.adaLN_modulation.1", 2 * width, width);
  return list.take();
}

int64_t total_parameters(const DitConfig& config) {
  int64_t total = 0;
  for (const TensorSpec& spec : tensor_specs(config)) total += base::num_elements(spec.shape);
  return total;
}

int64_t activated_parameters(const DitConfig& config) {
  const int64_t idle_experts = count_moe_layers(config) * (config.experts - config.top_k);
  return total_parameters(config) - idle_experts * 3 * config.width * config.routed_width();
}

int64_t forward_macs(const DitConfig& config) {
  const int64_t width = config.width;
  const int64_t tokens = config.tokens();
  const int64_t patch_area = config.patch_size * config.patch_size;
  // Per image: timestep MLP and the final layer's modulation.
  int64_t macs = kTimeFrequencies * width + width * width + 2 * width * width;
  macs += tokens * patch_area * width * (config.channels + config.output_channels());
  for (int64_t layer = 0; layer < config.depth; ++layer) {
    int64_t per_token = 4 * width * width + 2 * tokens * width;  // qkv and proj; QKᵀ and AV
    if (config.is_moe(layer)) {
      per_token += width * config.experts;
      per_token += 3 * width * (config.routed_width() * config.top_k + config.shared_width());
    } else {
      const int64_t products = config.feed_forward == FeedForward::kGelu ? 2 : 3;
      per_token += products * width * config.dense_width();
    }
    macs += tokens * per_token + 6 * width * width;
  }
  return macs;
}

base::Json to_json(const DitConfig& config) {
  base::Json json = base::Json::object();
  visit_fields(config, [&](const char* key, const auto& value) {
    if constexpr (std::is_enum_v<std::remove_cvref_t<decltype(value)>>) {
      json[key] = to_word(value);
    } else {
      json[key] = value;
    }
  });
  return json;
}

DitConfig dit_config_from_json(const base::Json& json, const std::string& source) {
  if (!json.is_object()) {
    base::bad_input("{}: expected an object, found {}", source, json.type_name());
  }
  DitConfig config;
  std::vector<std::string_view> known;
  visit_fields(config, [&](const char* key, auto& value) {
    known.push_back(key);
    const auto found = json.find(key);
    if (found != json.end()) FieldReader{*found, fmt::format("{}: {}", source, key)}(value);
  });
  for (const auto& item : json.items()) {
    if (std::ranges::find(known, item.key()) == known.end()) {
      base::bad_input(
          "{}: unknown key '{}'; known are {}", source, item.key(), fmt::join(known, ", "));
    }
  }
  return config;
}

DitConfig preset(std::string_view name) {
  for (const Size& size : kSizes) {
    std::string_view rest = name;
    if (!rest.starts_with(size.name)) continue;
    rest.remove_prefix(size.name.size());
    if (!take_letter(rest, '/')) continue;
    const auto patch = take_number(rest);
    if (!patch || (*patch != 2 && *patch != 4 && *patch != 8)) break;
    DitConfig config;
    config.depth = size.depth;
    config.width = size.width;
    config.heads = size.heads;
    config.patch_size = *patch;
    if (!read_suffix(rest, config)) break;
    config.validate(fmt::format("preset '{}'", name));
    return config;
  }
  base::bad_input(
      "preset '{}': expected <S|B|L|XL|G>/<2|4|8>[-<experts>E<top-k>A|-swiglu], for example {}",
      name,
      fmt::join(preset_names(), ", "));
}

std::vector<std::string> preset_names() {
  return {"S/2-8E2A", "S/2-16E2A", "B/2-8E2A", "L/2-8E2A", "XL/2-8E2A", "G/2-16E2A"};
}

std::optional<int64_t> preset_heads(int64_t depth, int64_t width) {
  for (const Size& size : kSizes) {
    if (size.depth == depth && size.width == width) return size.heads;
  }
  return std::nullopt;
}

std::string_view to_word(FeedForward value) { return word_of(kFeedForwardWords, value); }

std::string_view to_word(MoePlacement value) { return word_of(kPlacementWords, value); }

std::string_view to_word(Objective value) { return word_of(kObjectiveWords, value); }

std::string_view to_word(BalancePool value) { return word_of(kPoolWords, value); }

FeedForward feed_forward_from(std::string_view word, const std::string& what) {
  return value_of(kFeedForwardWords, word, what);
}

MoePlacement moe_placement_from(std::string_view word, const std::string& what) {
  return value_of(kPlacementWords, word, what);
}

Objective objective_from(std::string_view word, const std::string& what) {
  return value_of(kObjectiveWords, word, what);
}

BalancePool balance_pool_from(std::string_view word, const std::string& what) {
  return value_of(kPoolWords, word, what);
}

}  // namespace ditmoe::networks
