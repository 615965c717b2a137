#include "apps/ditmoe/model_output.h"

#include <fmt/format.h>

#include "ditmoe/base/error.h"
#include "ditmoe/base/quoted.h"
#include "ditmoe/formats/file.h"
#include "ditmoe/formats/folder.h"
#include "ditmoe/kernels/precision.h"
#include "ditmoe/networks/model_writer.h"
#include "ditmoe/networks/packed_file.h"

namespace ditmoe::apps {
namespace {

std::optional<base::DType> float_type(const std::optional<std::string>& word) {
  if (!word) return std::nullopt;
  if (*word == "f32") return base::DType::kF32;
  if (*word == "f16") return base::DType::kF16;
  if (*word == "bf16") return base::DType::kBF16;
  base::bad_input("--dtype: expected f32, f16, bf16 or int8, found {}", base::quoted(*word));
}

kernels::Precision packed_type(const std::optional<std::string>& word) {
  if (!word) return kernels::Precision::kBf16;
  return kernels::precision_from(*word, "--dtype of packed weights");
}

}  // namespace

bool OutputOptions::is_packed() const {
  return format ? *format == "packed" : dtype.value_or("") == "int8";
}

bool OutputOptions::is_diffusers() const { return format && *format == "diffusers"; }

void OutputOptions::check(const std::string& path) const {
  if (format && *format != "safetensors" && *format != "packed" && *format != "diffusers") {
    base::bad_input("--format: expected safetensors, packed or diffusers, found {}",
                    base::quoted(*format));
  }
  if (is_packed()) {
    packed_type(dtype);
  } else if (dtype && *dtype == "int8") {
    base::bad_input("--dtype int8: only packed files hold it, found --format {}", *format);
  } else {
    float_type(dtype);
  }
  const networks::AttentionNames spelling = networks::attention_names_from(names, "--names");
  if (spelling != networks::AttentionNames::kQkv && (is_packed() || is_diffusers())) {
    base::bad_input("--names: {} files have names of their own",
                    is_packed() ? "packed" : "diffusers");
  }
  if (is_diffusers() || (!is_packed() && !networks::names_a_file(path))) {
    formats::expect_new_folder(path);
  } else {
    formats::expect_usable_name(path);
    formats::expect_writable(path);
  }
}

std::string OutputOptions::write(const std::string& path,
                                 const networks::WeightSource& weights,
                                 const networks::Metadata& metadata,
                                 const std::string& source,
                                 base::ThreadPool& pool) const {
  if (is_packed()) {
    const kernels::Precision precision = packed_type(dtype);
    networks::write_packed(path, weights, precision, metadata, pool);
    return fmt::format("packed in {}", kernels::to_word(precision));
  }
  networks::WriteOptions options;
  options.dtype = float_type(dtype);
  options.names = networks::attention_names_from(names, "--names");
  if (is_diffusers()) {
    networks::write_diffusers_dit(path, weights, metadata, source, options);
  } else {
    networks::write_model(path, weights, metadata, options);
  }
  return fmt::format("{}{}",
                     is_diffusers() ? "a diffusers DiTTransformer2DModel" : "safetensors",
                     dtype ? " in " + *dtype : "");
}

networks::ModelFile open_input(const std::string& input,
                               const std::string& output,
                               const networks::ModelOverrides& overrides) {
  auto model = networks::ModelFile::open(input, overrides);
  if (model.packed()) {
    base::bad_input("{}: is packed, in {}; expected the file it was made from",
                    model.path(),
                    kernels::to_word(*model.packed()));
  }
  formats::expect_none_of(output, formats::files_of(*model.file()));
  return model;
}

void add_output(CLI::App& app, OutputOptions& options) {
  app.add_option("--format",
                 options.format,
                 "What to write (default: safetensors; packed with --dtype int8\n"
                 "and with --random).\n"
                 "safetensors: plain, for every program; OUT is a file *.safetensors,\n"
                 "else a new folder, which above 5 GB has several and an index.\n"
                 "packed: as the CPU's kernels read it, used as it stands on disk.\n"
                 "diffusers: a new folder with a DiTTransformer2DModel")
      ->option_text("safetensors|packed|diffusers");
  app.add_option("--dtype",
                 options.dtype,
                 "Type of the weights (default: each tensor's own; bf16 where packed).\n"
                 "f16 is never packed, int8 always")
      ->option_text("f32|f16|bf16|int8");
  app.add_option("--names",
                 options.names,
                 "Spelling of attention: attn.qkv and attn.proj, or attn.Wqkv and\n"
                 "attn.out_proj as in the larger models of DiT-MoE (default: qkv)")
      ->option_text("qkv|wqkv");
}

}  // namespace ditmoe::apps
