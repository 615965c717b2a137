#include <algorithm>
#include <array>
#include <charconv>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "ditmoe/base/error.h"
#include "ditmoe/formats/bytes.h"
#include "ditmoe/networks/dit_config.h"

namespace ditmoe::networks {
namespace {

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
  if (suffix == "-switch") {
    config.feed_forward = FeedForward::kGelu;
    config.time_experts = 3;
    config.time_top_k = 2;
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

std::optional<DitConfig> find_preset(std::string_view name) {
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
    return config;
  }
  return std::nullopt;
}

}  // namespace

bool is_preset(std::string_view name) { return find_preset(name).has_value(); }

DitConfig preset(std::string_view name) {
  if (const std::optional<DitConfig> config = find_preset(name)) {
    config->validate(fmt::format("preset '{}'", name));
    return *config;
  }
  base::bad_input(
      "preset {}: expected <S|B|L|XL|G>/<2|4|8>[-<experts>E<top-k>A|-swiglu|-switch], for example "
      "{}",
      formats::printable(name),
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

}  // namespace ditmoe::networks
