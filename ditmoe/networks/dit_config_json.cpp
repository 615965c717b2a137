#include <algorithm>
#include <array>
#include <limits>
#include <type_traits>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "ditmoe/base/error.h"
#include "ditmoe/formats/bytes.h"
#include "ditmoe/networks/dit_config.h"

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
constexpr std::array kScoreWords = {
    Word<kernels::RouterScore>{kernels::RouterScore::kSoftmax, "softmax"},
    Word<kernels::RouterScore>{kernels::RouterScore::kSigmoid, "sigmoid"}};

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
  base::bad_input(
      "{}: expected one of {}, found {}", what, fmt::join(allowed, ", "), formats::printable(word));
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
  visit("router_score", config.router_score);
  visit("renormalise", config.renormalise);
  visit("router_bias", config.router_bias);
  visit("qk_norm", config.qk_norm);
  visit("learn_sigma", config.learn_sigma);
  visit("objective", config.objective);
  visit("balance_factor", config.balance_factor);
  visit("balance_pool", config.balance_pool);
  visit("time_experts", config.time_experts);
  visit("time_top_k", config.time_top_k);
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

  void operator()(kernels::RouterScore& value) const { value = router_score_from(word(), what); }

  std::string word() const {
    if (!json.is_string()) base::bad_input("{}: expected a word, found {}", what, found());
    return json.get<std::string>();
  }

  // What stands there instead, short enough for one line.
  std::string found() const {
    return json.is_structured() ? json.type_name() : json.dump(-1, ' ', true).substr(0, 40);
  }
};

}  // namespace

base::Json to_json(const DitConfig& config) {
  base::Json json = base::Json::object();
  visit_fields(config, [&](const char* key, const auto& value) {
    if constexpr (std::is_enum_v<std::remove_cvref_t<decltype(value)>>) {
      json[key] = to_word(value);
    } else {
      json[key] = value;
    }
  });
  // Programs that do not know these read all other models.
  if (config.time_experts == 0) {
    json.erase("time_experts");
    json.erase("time_top_k");
  }
  if (config.router_score == kernels::RouterScore::kSoftmax) json.erase("router_score");
  if (!config.renormalise) json.erase("renormalise");
  if (!config.router_bias) json.erase("router_bias");
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
      base::bad_input("{}: unknown key {}; known are {}",
                      source,
                      formats::printable(item.key()),
                      fmt::join(known, ", "));
    }
  }
  return config;
}

std::string_view to_word(FeedForward value) { return word_of(kFeedForwardWords, value); }

std::string_view to_word(MoePlacement value) { return word_of(kPlacementWords, value); }

std::string_view to_word(Objective value) { return word_of(kObjectiveWords, value); }

std::string_view to_word(BalancePool value) { return word_of(kPoolWords, value); }

std::string_view to_word(kernels::RouterScore value) { return word_of(kScoreWords, value); }

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

kernels::RouterScore router_score_from(std::string_view word, const std::string& what) {
  return value_of(kScoreWords, word, what);
}

}  // namespace ditmoe::networks
