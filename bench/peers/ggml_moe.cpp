// Times the MoE layer of a preset, router excluded, in ggml, and prints one JSON object.

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <stdexcept>
#include <string>
#include <vector>

#include "ggml_api.h"
#include "ggml_layer.h"
#include "moe_problem.h"

namespace ditmoe::peers {
namespace {

constexpr const char* kHelp = R"(usage: ggml_moe PRESET [--NAME VALUE]...

Times the MoE layer of PRESET (S/2-8E2A, ...) in ggml: routed and shared experts' SwiGLU and the
weighted sum, without the router. Checks some rows of the result against the definition.

  --lib DIR          folder with libggml-base.so and libggml-cpu-*.so
                     (default: where setup_ggml.sh installs them)
  --batch N          images of 256 x 256, 256 tokens each at patch 2 (8)
  --dtype TYPE       of the weights: f32, bf16, q8_0 (f32)
  --threads N        (2)
  --layout NAME      separate, merged: mul_mat_id; sorted: get_rows and mul_mat per expert;
                     best: the fastest of the three (best)
  --repetitions N    (10)
  --warmup N         (2)
  --out FILE         write the JSON there, not to standard output
)";

struct Options {
  std::string preset;
  std::map<std::string, std::string> values = {{"lib", DITMOE_GGML_FOLDER},
                                               {"batch", "8"},
                                               {"dtype", "f32"},
                                               {"threads", "2"},
                                               {"layout", "best"},
                                               {"repetitions", "10"},
                                               {"warmup", "2"},
                                               {"out", ""}};

  int number(const std::string& name, int least) const {
    const std::string& text = values.at(name);
    char* end = nullptr;
    const long value = std::strtol(text.c_str(), &end, 10);
    if (text.empty() || *end != '\0' || value < least || value > 100000) {
      throw std::runtime_error("--" + name + ": expected a whole number from " +
                               std::to_string(least) + ", found '" + text + "'");
    }
    return static_cast<int>(value);
  }
};

struct Measured {
  std::string layout;
  double median_ms = 0;
  double p10_ms = 0;
  double p90_ms = 0;
  double nmse = 0;
};

const std::map<std::string, Layout> kLayouts = {
    {"separate", Layout::kSeparate}, {"merged", Layout::kMerged}, {"sorted", Layout::kSorted}};

// Largest error tolerated, as squared error over squared value: what rounding the weights costs.
const std::map<std::string, std::pair<int, double>> kDtypes = {
    {"f32", {kGgmlF32, 1e-9}}, {"bf16", {kGgmlBf16, 1e-4}}, {"q8_0", {kGgmlQ8, 1e-3}}};

double quantile(const std::vector<double>& sorted, double q) {
  const double at = q * static_cast<double>(sorted.size() - 1);
  const auto low = static_cast<size_t>(at);
  const size_t high = std::min(low + 1, sorted.size() - 1);
  return sorted[low] + (at - static_cast<double>(low)) * (sorted[high] - sorted[low]);
}

double error_of(const MoeProblem& problem, const std::vector<float>& out_ND) {
  constexpr int64_t kRows = 24;
  double error = 0;
  double size = 0;
  for (int64_t i = 0; i < kRows; ++i) {
    const int64_t token = i * (problem.sizes.tokens - 1) / (kRows - 1);
    const std::vector<double> expected = reference_row(problem, token);
    for (int64_t d = 0; d < problem.sizes.width; ++d) {
      const double actual = out_ND[token * problem.sizes.width + d];
      error += (actual - expected[d]) * (actual - expected[d]);
      size += expected[d] * expected[d];
    }
  }
  return error / size;
}

Measured measure(const Ggml& api,
                 const MoeProblem& problem,
                 const std::string& layout,
                 const Options& options) {
  const auto& [dtype, tolerance] = kDtypes.at(options.values.at("dtype"));
  GgmlLayer layer(api, problem, kLayouts.at(layout), dtype, options.number("threads", 1));
  const int warmup = options.number("warmup", 0);
  const int repetitions = options.number("repetitions", 1);
  std::vector<double> milliseconds;
  for (int i = 0; i < warmup + repetitions; ++i) {
    const auto begin = std::chrono::steady_clock::now();
    layer.run();
    const std::chrono::duration<double, std::milli> taken =
        std::chrono::steady_clock::now() - begin;
    if (i >= warmup) {
      milliseconds.push_back(taken.count());
    }
  }
  std::sort(milliseconds.begin(), milliseconds.end());
  const double nmse = error_of(problem, layer.output());
  if (!(nmse <= tolerance)) {
    throw std::runtime_error(layout + ": the result differs from the definition by an NMSE of " +
                             std::to_string(nmse));
  }
  return {layout,
          quantile(milliseconds, 0.5),
          quantile(milliseconds, 0.1),
          quantile(milliseconds, 0.9),
          nmse};
}

std::string format(const char* pattern, const Measured& m) {
  std::string text(256, '\0');
  text.resize(static_cast<size_t>(
      std::snprintf(text.data(), text.size(), pattern, m.median_ms, m.p10_ms, m.p90_ms, m.nmse)));
  return text;
}

std::string to_json(const Options& options,
                    const GgmlLibrary& library,
                    const MoeProblem& problem,
                    const std::vector<Measured>& all) {
  const auto text = [](const std::string& name, const std::string& value) {
    return "\"" + name + "\": \"" + value + "\", ";
  };
  const auto number = [](const std::string& name, double value) {
    return "\"" + name + "\": " + std::to_string(value) + ", ";
  };
  const Measured& best =
      *std::min_element(all.begin(), all.end(), [](const auto& a, const auto& b) {
        return a.median_ms < b.median_ms;
      });
  const MoeSizes& sizes = problem.sizes;
  const std::vector<int64_t> counts = expert_counts(problem);
  const double share = static_cast<double>(*std::max_element(counts.begin(), counts.end())) /
                       static_cast<double>(sizes.tokens * sizes.top_k);
  std::string json = "{" + text("implementation", "ggml") + text("what", "moe layer") +
                     text("preset", options.preset) + text("dtype", options.values.at("dtype")) +
                     "\"batch\": " + options.values.at("batch") +
                     ", \"threads\": " + options.values.at("threads") +
                     ", \"repetitions\": " + options.values.at("repetitions") + ", ";
  json += text("layout", best.layout) +
          format("\"median_ms\": %.3f, \"p10_ms\": %.3f, \"p90_ms\": %.3f, \"nmse\": %.3g, ", best);
  json += number("gflop_per_second", sizes.flop() / best.median_ms / 1e6) +
          number("all_layers_ms", best.median_ms * static_cast<double>(sizes.depth)) +
          number("largest_expert_share", share) + "\"layouts\": {";
  for (const Measured& one : all) {
    json += (&one == all.data() ? "\"" : ", \"") + one.layout +
            format("\": {\"median_ms\": %.3f, \"p10_ms\": %.3f, \"p90_ms\": %.3f, \"nmse\": %.3g}",
                   one);
  }
  return json + "}, \"versions\": {" + text("ggml", library.api.version()) +
         text("commit", library.api.commit()) + "\"library\": \"" + library.cpu_library + "\"}}\n";
}

Options parse(int argc, char** argv) {
  Options options;
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    if (word.rfind("--", 0) != 0 && options.preset.empty()) {
      options.preset = word;
      continue;
    }
    const auto found =
        word.rfind("--", 0) == 0 ? options.values.find(word.substr(2)) : options.values.end();
    if (found == options.values.end() || i + 1 == argc) {
      throw std::runtime_error("unexpected '" + word + "' (--help)");
    }
    found->second = argv[++i];
  }
  if (options.preset.empty()) {
    throw std::runtime_error("expected a preset (--help)");
  }
  const std::string& layout = options.values.at("layout");
  if (kDtypes.count(options.values.at("dtype")) == 0) {
    throw std::runtime_error("--dtype: expected f32, bf16 or q8_0");
  }
  if (layout != "best" && kLayouts.count(layout) == 0) {
    throw std::runtime_error("--layout: expected best, separate, merged or sorted");
  }
  return options;
}

void run(const Options& options) {
  const MoeProblem problem = make_problem(sizes_of(options.preset, options.number("batch", 1)));
  const GgmlLibrary library = load_ggml(options.values.at("lib"));
  const std::string& layout = options.values.at("layout");
  std::vector<Measured> all;
  for (const std::string& name : layout == "best"
                                     ? std::vector<std::string>{"separate", "merged", "sorted"}
                                     : std::vector<std::string>{layout}) {
    all.push_back(measure(library.api, problem, name, options));
  }
  const std::string json = to_json(options, library, problem, all);
  const std::string& out = options.values.at("out");
  std::FILE* file = out.empty() ? stdout : std::fopen(out.c_str(), "w");
  if (file == nullptr || std::fputs(json.c_str(), file) < 0 || std::fflush(file) != 0) {
    throw std::runtime_error("cannot write " + (out.empty() ? "standard output" : out));
  }
  if (file != stdout) {
    std::fclose(file);
  }
}

}  // namespace
}  // namespace ditmoe::peers

int main(int argc, char** argv) {
  for (int i = 1; i < argc; ++i) {
    if (std::string(argv[i]) == "--help" || std::string(argv[i]) == "-h") {
      std::fputs(ditmoe::peers::kHelp, stdout);
      return 0;
    }
  }
  try {
    ditmoe::peers::run(ditmoe::peers::parse(argc, argv));
  } catch (const std::exception& error) {
    std::fprintf(stderr, "ggml_moe: %s\n", error.what());
    return 2;
  }
  return 0;
}
