#include "ditmoe/base/version.h"

#include <jconfig.h>

#include <nlohmann/json.hpp>
#include <oneapi/dnnl/dnnl.h>
#include <png.h>
#include <spdlog/version.h>
#include <toml++/toml.h>
#include <zlib.h>

#include "ditmoe/base/cpu.h"

#include "apps/ditmoe/command.h"

namespace ditmoe::apps {
namespace {

std::string triple(int major, int minor, int patch) {
  return fmt::format("{}.{}.{}", major, minor, patch);
}

// The widest instruction set oneDNN will use here, in its own words.
std::string onednn_isa() {
  switch (dnnl_get_effective_cpu_isa()) {
    case dnnl_cpu_isa_avx2:
      return "AVX2";
    case dnnl_cpu_isa_avx2_vnni:
      return "AVX2 with VNNI";
    case dnnl_cpu_isa_avx512_core:
      return "AVX-512";
    case dnnl_cpu_isa_avx512_core_vnni:
      return "AVX-512 with VNNI";
    case dnnl_cpu_isa_avx512_core_bf16:
      return "AVX-512 with VNNI and BF16";
    case dnnl_cpu_isa_avx512_core_amx:
      return "AVX-512 with AMX";
    default:
      return "another instruction set";
  }
}

}  // namespace

std::string version_text() {
  const dnnl_version_t* onednn = dnnl_version();
  return fmt::format(
      "ditmoe {}\n"
      "CPU: {} ({})\n"
      "oneDNN {} (uses {}), fmt {}, spdlog {}, CLI11 {}, nlohmann-json {}, toml++ {}, zlib {}, "
      "libpng {}, libjpeg-turbo {}\n"
      "training: {}",
      base::version(),
      base::cpu_name(),
      fmt::join(base::cpu_features(), " "),
      triple(onednn->major, onednn->minor, onednn->patch),
      onednn_isa(),
      triple(FMT_VERSION / 10000, FMT_VERSION / 100 % 100, FMT_VERSION % 100),
      triple(SPDLOG_VER_MAJOR, SPDLOG_VER_MINOR, SPDLOG_VER_PATCH),
      CLI11_VERSION,
      triple(NLOHMANN_JSON_VERSION_MAJOR, NLOHMANN_JSON_VERSION_MINOR, NLOHMANN_JSON_VERSION_PATCH),
      triple(TOML_LIB_MAJOR, TOML_LIB_MINOR, TOML_LIB_PATCH),
      zlibVersion(),
      png_get_libpng_ver(nullptr),
      triple(LIBJPEG_TURBO_VERSION_NUMBER / 1000000,
             LIBJPEG_TURBO_VERSION_NUMBER / 1000 % 1000,
             LIBJPEG_TURBO_VERSION_NUMBER % 1000),
      trainer_exists() ? "ditmoe-train is installed" : "ditmoe-train is not installed");
}

}  // namespace ditmoe::apps
