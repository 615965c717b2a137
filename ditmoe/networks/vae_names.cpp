#include "ditmoe/networks/vae_names.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <string_view>
#include <utility>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "ditmoe/base/error.h"
#include "ditmoe/formats/bytes.h"

namespace ditmoe::networks {
namespace {

constexpr std::string_view kPrefix = "first_stage_model.";
constexpr int64_t kMaxIndex = 99;

using Words = std::vector<std::string>;

Words split(std::string_view name) {
  Words words;
  size_t begin = 0;
  for (size_t dot = name.find('.'); dot != std::string_view::npos; dot = name.find('.', begin)) {
    words.emplace_back(name.substr(begin, dot - begin));
    begin = dot + 1;
  }
  words.emplace_back(name.substr(begin));
  return words;
}

// A whole number up to kMaxIndex, else -1.
int64_t index_of(const std::string& word) {
  int64_t value = -1;
  const char* end = word.data() + word.size();
  const auto [rest, error] = std::from_chars(word.data(), end, value);
  return error == std::errc() && rest == end && value >= 0 && value <= kMaxIndex ? value : -1;
}

// Puts `to` in the place of the words from `at` on that are `from`, if they are there.
void replace(Words& words, size_t at, const Words& from, const Words& to) {
  if (words.size() < at + from.size()) return;
  const auto begin = words.begin() + static_cast<std::ptrdiff_t>(at);
  if (!std::equal(from.begin(), from.end(), begin)) return;
  words.erase(begin, begin + static_cast<std::ptrdiff_t>(from.size()));
  words.insert(words.begin() + static_cast<std::ptrdiff_t>(at), to.begin(), to.end());
}

// The part of a block that a layer is, from word `at` on.
void translate_layer(Words& words, size_t at) {
  static const std::array<std::pair<Words, Words>, 10> kSpellings = {{
      {{"conv_shortcut"}, {"nin_shortcut"}},
      {{"group_norm"}, {"norm"}},
      {{"to_q"}, {"q"}},
      {{"to_k"}, {"k"}},
      {{"to_v"}, {"v"}},
      {{"to_out", "0"}, {"proj_out"}},
      {{"query"}, {"q"}},
      {{"key"}, {"k"}},
      {{"value"}, {"v"}},
      {{"proj_attn"}, {"proj_out"}},
  }};
  for (const auto& [from, to] : kSpellings) {
    replace(words, at, from, to);
  }
}

std::string translate(const std::string& name, int64_t levels) {
  Words words = split(name);
  if (words.size() < 2 || (words[0] != "encoder" && words[0] != "decoder")) return name;
  replace(words, 1, {"conv_norm_out"}, {"norm_out"});
  const int64_t index = words.size() > 4 ? index_of(words[2]) : -1;
  if (words[1] == "mid_block" && words.size() > 4) {
    replace(words, 1, {"mid_block", "attentions", "0"}, {"mid", "attn_1"});
    replace(words, 1, {"mid_block", "resnets", "0"}, {"mid", "block_1"});
    replace(words, 1, {"mid_block", "resnets", "1"}, {"mid", "block_2"});
    translate_layer(words, 3);
  } else if ((words[1] == "down_blocks" || words[1] == "up_blocks") && index >= 0) {
    const bool up = words[1] == "up_blocks";
    words[1] = up ? "up" : "down";
    words[2] = std::to_string(up ? levels - 1 - index : index);
    replace(words, 3, {"resnets"}, {"block"});
    replace(words, 3, {"attentions"}, {"attn"});
    replace(words, 3, {"downsamplers", "0"}, {"downsample"});
    replace(words, 3, {"upsamplers", "0"}, {"upsample"});
    translate_layer(words, 5);
  }
  return fmt::format("{}", fmt::join(words, "."));
}

// Levels of the decoder in diffusers' names: one more than the largest number of a block.
int64_t levels_of(const std::vector<NamedShape>& tensors, std::string_view prefix) {
  constexpr std::string_view kBlocks = "decoder.up_blocks.";
  int64_t levels = 0;
  for (const NamedShape& tensor : tensors) {
    const std::string name =
        tensor.name_in_file.substr(tensor.name_in_file.starts_with(prefix) ? prefix.size() : 0);
    if (name.starts_with(kBlocks)) levels = std::max(levels, index_of(split(name)[2]) + 1);
  }
  return levels;
}

// Whether a tensor, its prefix taken off, can be the autoencoder's.
bool belongs(std::string_view name) {
  constexpr std::array<std::string_view, 4> kParts = {
      "encoder.", "decoder.", "quant_conv.", "post_quant_conv."};
  return std::any_of(
      kParts.begin(), kParts.end(), [&](auto part) { return name.starts_with(part); });
}

}  // namespace

ShapeTable vae_shape_table(const std::vector<NamedShape>& tensors, const std::string& source) {
  const bool prefixed = std::any_of(tensors.begin(), tensors.end(), [](const NamedShape& tensor) {
    return tensor.name_in_file.starts_with(kPrefix);
  });
  const std::string_view prefix = prefixed ? kPrefix : std::string_view();
  const int64_t levels = levels_of(tensors, prefix);
  ShapeTable table;
  for (const NamedShape& tensor : tensors) {
    if (!tensor.name_in_file.starts_with(prefix)) continue;
    const std::string name = tensor.name_in_file.substr(prefix.size());
    if (!belongs(name)) continue;
    const auto [place, added] = table.emplace(translate(name, levels), tensor);
    if (!added) {
      base::bad_input("{}: expected one tensor {}, found {} and {}",
                      source,
                      formats::printable(place->first),
                      formats::printable(place->second.name_in_file),
                      formats::printable(tensor.name_in_file));
    }
  }
  return table;
}

}  // namespace ditmoe::networks
