#include <algorithm>
#include <limits>
#include <memory>
#include <optional>

#include "ditmoe/base/error.h"
#include "ditmoe/base/progress.h"
#include "ditmoe/base/thread_pool.h"
#include "ditmoe/kernels/matmul.h"
#include "ditmoe/networks/classifier.h"
#include "ditmoe/pipeline/judge.h"
#include "ditmoe/pipeline/labels.h"
#include "ditmoe/pipeline/model_session.h"
#include "ditmoe/pipeline/precision_report.h"
#include "ditmoe/pipeline/settings.h"

#include "apps/command_line/measurement.h"
#include "apps/ditmoe/bench.h"

namespace ditmoe::apps {
namespace {

struct Options {
  std::string model;
  std::string classifier;
  int64_t images = 64;
  int64_t levels = 10;
  std::optional<int64_t> count;
  uint64_t seed = 0;
  SamplingOptions sampling;
  OverrideOptions overrides;
  ComputeOptions compute;
  CommonOptions common;
};

// How images are drawn, in every type.
pipeline::GenerateRequest request_of(const networks::ModelFile& model, const Options& options) {
  pipeline::GenerateRequest request = pipeline::default_request(model);
  options.sampling.apply(model, request);
  request.seed = options.seed;
  return request;
}

// Draws images of all classes in turn.
base::Tensor draw(pipeline::ModelSession& session, const Options& options, int64_t count) {
  pipeline::GenerateRequest request = request_of(session.model(), options);
  request.labels = pipeline::cycle_labels(session.parse_labels("all"), count);
  std::optional<base::Progress> progress;
  const std::string title(kernels::to_word(session.precision()));
  return session.generate(request, [&](int64_t done, int64_t total) {
    if (!progress) progress.emplace(title, total, "steps");
    progress->update(done);
  });
}

int64_t images_judged(const Options& options) { return options.count.value_or(1000); }

// Of images drawn for all classes in turn, which are recognised as theirs.
std::vector<bool> recognised(pipeline::ModelSession& session,
                             const networks::Classifier& classifier,
                             const Options& options) {
  const base::Tensor pixels =
      pipeline::to_uint8_NHWC(draw(session, options, images_judged(options)));
  const std::vector<int32_t> labels =
      pipeline::cycle_labels(session.parse_labels("all"), images_judged(options));
  const auto classes = static_cast<size_t>(classifier.config().num_classes);
  std::vector<float> logits(labels.size() * classes);
  classifier.forward(pixels.as<uint8_t>(), logits, {});
  std::vector<bool> correct;
  for (size_t i = 0; i < labels.size(); ++i) {
    const float* row = logits.data() + i * classes;
    correct.push_back(std::max_element(row, row + classes) - row == labels[i]);
  }
  return correct;
}

double share(const std::vector<bool>& correct) {
  return static_cast<double>(std::ranges::count(correct, true)) /
         static_cast<double>(correct.size());
}

base::Json report_json(const pipeline::PrecisionReport& report) {
  base::Json json = {{"nmse", report.nmse}, {"same_routing", report.same_routing}};
  json["levels"] = base::Json::array();
  for (const pipeline::PrecisionAtLevel& level : report.levels) {
    json["levels"].push_back(
        {{"t", level.level}, {"nmse", level.nmse}, {"same_routing", level.same_routing}});
  }
  return json;
}

void print_report(const pipeline::PrecisionReport& report) {
  fmt::print("{:>10}{:>14}{:>16}\n", "t", "NMSE", "same experts");
  for (const pipeline::PrecisionAtLevel& level : report.levels) {
    fmt::print("{:>10.4g}{:>14.2e}{:>15.2f}%\n", level.level, level.nmse, 100 * level.same_routing);
  }
  fmt::print("{:>10}{:>14.2e}{:>15.2f}%\n", "all", report.nmse, 100 * report.same_routing);
}

// What is compared: the type asked for, else all that this CPU has.
std::vector<kernels::Precision> compared(const Options& options) {
  if (const auto one = options.compute.precision()) {
    if (*one == kernels::Precision::kF32) base::bad_input("--dtype: expected bf16 or int8");
    return {*one};
  }
  const kernels::Matmul matmul(1);
  std::vector<kernels::Precision> precisions;
  for (const auto precision : {kernels::Precision::kBf16, kernels::Precision::kInt8}) {
    if (matmul.computed(precision) == precision) precisions.push_back(precision);
  }
  if (precisions.empty()) base::bad_input("this CPU has neither bf16 nor int8: give --dtype");
  return precisions;
}

// Compares one type with f32, whose drawn images are `images` and recognised ones `exact_correct`.
base::Json compare(pipeline::ModelSession& exact,
                   pipeline::ModelSession& rounded,
                   const base::Tensor& images,
                   const networks::Classifier* classifier,
                   const std::vector<bool>& exact_correct,
                   const Options& options) {
  const std::vector<int32_t> labels =
      pipeline::cycle_labels(exact.parse_labels("all"), options.images);
  const pipeline::PrecisionReport report =
      pipeline::compare_precisions(exact.executor(),
                                   rounded.executor(),
                                   exact.model().config().objective,
                                   images,
                                   labels,
                                   options.levels,
                                   options.seed);
  const std::string_view dtype = kernels::to_word(rounded.precision());
  fmt::print("{}: {} against f32, {} images at each of {} noise levels\n",
             options.model,
             dtype,
             options.images,
             options.levels);
  print_report(report);
  base::Json json = report_json(report);
  json["dtype"] = dtype;
  if (classifier == nullptr) return json;
  const std::vector<bool> correct = recognised(rounded, *classifier, options);
  int64_t changed = 0;
  for (size_t i = 0; i < correct.size(); ++i) changed += correct[i] != exact_correct[i] ? 1 : 0;
  json["recognised"] = share(correct);
  json["changed"] = changed;
  fmt::print(
      "recognised of {} with the same seeds: {:.2f}% in f32, {:.2f}% in {}; {} judged otherwise\n",
      images_judged(options),
      100 * share(exact_correct),
      100 * share(correct),
      dtype,
      changed);
  return json;
}

void run(const Options& options) {
  options.common.start_logging();
  const std::vector<kernels::Precision> precisions = compared(options);
  base::ThreadPool pool(options.common.threads);
  pipeline::ModelSession exact(
      options.model, options.overrides.over(), {kernels::Precision::kF32, {}}, pool);
  if (exact.model().packed()) {
    base::bad_input("{}: is packed, in {}; give the file it was made from",
                    options.model,
                    kernels::to_word(*exact.model().packed()));
  }
  if (options.count && options.classifier.empty()) {
    base::bad_input("--count: goes with --classifier");
  }
  std::optional<networks::Classifier> classifier;
  if (!options.classifier.empty()) {
    classifier.emplace(networks::Classifier::open(options.classifier, pool));
    pipeline::check_classifier(*classifier, options.classifier, exact.model());
  }
  const base::Tensor images = draw(exact, options, options.images);
  std::vector<bool> exact_correct;
  base::Json json = machine_json(pool.size());
  json["model"] = options.model;
  json.update(pipeline::sampling_json(request_of(exact.model(), options)));
  json["seed"] = options.seed;
  json["images"] = options.images;
  if (classifier) {
    exact_correct = recognised(exact, *classifier, options);
    json["count"] = images_judged(options);
    json["recognised_f32"] = share(exact_correct);
  }
  json["compared"] = base::Json::array();
  for (const kernels::Precision precision : precisions) {
    pipeline::ModelSession rounded(options.model, options.overrides.over(), {precision, {}}, pool);
    json["compared"].push_back(compare(
        exact, rounded, images, classifier ? &*classifier : nullptr, exact_correct, options));
  }
  if (options.common.json) print_json(json);
}

void add_options(CLI::App& app, Options& options) {
  app.add_option("MODEL", options.model, kModelText)->option_text("(required)")->required();
  app.add_option("--images", options.images, "Images to compare on (default: 64)")
      ->option_text("N")
      ->check(whole_number(1, 4096));
  app.add_option("--levels", options.levels, "Noise levels (default: 10)")
      ->option_text("N")
      ->check(whole_number(1, 1000));
  app.add_option("--classifier",
                 options.classifier,
                 "Also draw images in both types and have this classifier judge them")
      ->option_text("FILE");
  app.add_option("--count", options.count, "Images for the classifier (default: 1000)")
      ->option_text("N")
      ->check(whole_number(1, 1'000'000));
  app.add_option(
         "--seed", options.seed, "Of drawn images and of the noise added to them (default: 0)")
      ->option_text("N")
      ->check(whole_number(0, std::numeric_limits<uint64_t>::max()));
}

}  // namespace

void add_bench_precision(CLI::App& bench, Commands& commands) {
  CLI::App* precision = bench.add_subcommand(
      "precision", "What rounding to bf16 or int8 changes in a model, against f32");
  const auto options = std::make_shared<Options>();
  add_options(*precision, *options);
  precision
      ->add_option(
          "--dtype", options->compute.dtype, "Type to compare (default: all that this CPU has)")
      ->option_text("bf16|int8");
  add_sampling(*precision, options->sampling);
  add_threads(*precision, options->common);
  add_json(*precision, options->common);
  add_logging(*precision, options->common);
  add_overrides(*precision, options->overrides);
  precision->footer(
      "Example:\n"
      "  ditmoe bench precision models/fashion-moe.safetensors \\\n"
      "    --classifier models/fashion-classifier.safetensors --count 5000");
  commands.push_back({precision, [options] { run(*options); }});
}

}  // namespace ditmoe::apps
