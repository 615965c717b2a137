#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "ditmoe/networks/weight_source.h"

namespace ditmoe::networks {

// Where the experts of an upcycled network come from.
enum class UpcycleMethod {
  kShared,  // the dense SwiGLU becomes the shared experts, the routed ones begin at an output of 0
  kCopies,  // every expert is a copy of the dense SwiGLU, or of an expert there was
};

// "shared", "copies"; bad_input naming what, the words allowed and what was found.
UpcycleMethod upcycle_method_from(std::string_view word, const std::string& what);
std::string_view to_word(UpcycleMethod method);

struct UpcycleOptions {
  int64_t experts = 0;                  // M
  std::optional<UpcycleMethod> method;  // shared for a dense network, copies for a MoE
  std::optional<int64_t> top_k;         // 2 for a dense network; all copies of what was chosen
  std::optional<int64_t> shared_experts;
  std::optional<int64_t> expert_width;  // of method shared; 4·width
  double noise = 0;                     // of copied weights, relative to each
  std::optional<double> router_std;     // of router rows; 0.02 for method shared, else 0
  uint64_t seed = 0;
};

// What upcycling makes of a network. docs/upcycling.md says why.
struct UpcyclePlan {
  DitConfig source;
  DitConfig config;
  UpcycleMethod method = UpcycleMethod::kShared;
  double noise = 0;
  double router_std = 0;
  uint64_t seed = 0;
  double scale = 1;        // of the copies' down_proj
  bool is_equal = false;   // the output is the source's, up to rounding
  bool are_alike = false;  // copies do not differ, so that they would learn alike
  bool are_tied = false;   // the router is 0, so that the first experts are chosen for all tokens
};

// Throws bad_input, naming `name` or the option, for a network without SwiGLU and for numbers that
// cannot be.
UpcyclePlan plan_upcycle(const DitConfig& source,
                         const UpcycleOptions& options,
                         const std::string& name);

// The weights of the network planned, made of those of its source as they are read. A weight
// depends on the source, seed, name and place alone.
class UpcycledWeights final : public WeightSource {
 public:
  // source: weights of plan.source, which must outlive this object.
  UpcycledWeights(const WeightSource& source, const UpcyclePlan& plan);

  const DitConfig& config() const override { return plan_.config; }

  base::DType dtype(const std::string& name) const override;
  base::DType stored_dtype(const std::string& name) const override;
  const base::Shape& shape(const std::string& name) const override;
  void read(const std::string& name,
            int64_t first,
            int64_t count,
            base::DType dtype,
            std::byte* dst) const override;

 private:
  enum class Kind {
    kSame,     // the source's
    kRows,     // the source's rows, beginning again after the last
    kColumns,  // the source's columns, scaled, zero beyond them
    kZero,
    kRouter,  // the source's rows in turn, or zero, plus noise
  };

  struct Recipe {
    Kind kind = Kind::kSame;
    std::string source;  // where nothing is read, a weight that has the type
    int64_t first_row = 0;
    double scale = 1;
    double noise = 0;
  };

  void add_swiglu(const std::string& name, const std::string& source, const Recipe& recipe);
  void add_moe(const std::string& block);
  void read_rows(const Recipe& recipe, int64_t first, int64_t count, float* out) const;
  void read_columns(
      const Recipe& recipe, int64_t columns, int64_t first, int64_t count, float* out) const;
  void read_router(const std::string& name,
                   const Recipe& recipe,
                   int64_t first,
                   int64_t count,
                   float* out) const;
  void add_noise(const std::string& name,
                 double deviation,
                 bool relative,
                 int64_t columns,
                 int64_t first,
                 int64_t count,
                 float* out) const;

  const WeightSource& source_;
  UpcyclePlan plan_;
  std::map<std::string, base::Shape> shapes_;
  std::map<std::string, Recipe> recipes_;
};

}  // namespace ditmoe::networks
