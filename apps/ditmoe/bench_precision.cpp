#include <limits>
#include <memory>
#include <optional>

#include "ditmoe/base/error.h"
#include "ditmoe/base/progress.h"
#include "ditmoe/base/thread_pool.h"
#include "ditmoe/metrics/classification.h"
#include "ditmoe/networks/classifier.h"
#include "ditmoe/pipeline/judge.h"
#include "ditmoe/pipeline/labels.h"
#include "ditmoe/pipeline/model_session.h"
#include "ditmoe/pipeline/precision_report.h"
#include "ditmoe/pipeline/settings.h"

#include "apps/ditmoe/bench.h"
#include "apps/ditmoe/measurement.h"

namespace ditmoe::apps {
namespace {

struct Options {
  std::string model;
  std::string classifier;
  int64_t images = 64;
  int64_t levels = 10;
  int64_t count = 1000;
  uint64_t seed = 0;
  SamplingOptions sampling;
  OverrideOptions overrides;
  PrecisionOption precision;
  CommonOptions common;
};

// Draws images of all classes in turn.
base::Tensor draw(pipeline::ModelSession& session, const Options& options, int64_t count) {
  pipeline::GenerateRequest request = pipeline::default_request(session.model());
  options.sampling.apply(session.model(), request);
  request.labels = pipeline::cycle_labels(session.parse_labels("all"), count);
  request.seed = options.seed;
  std::optional<base::Progress> progress;
  const std::string title(kernels::to_word(session.precision()));
  return session.generate(request, [&](int64_t done, int64_t total) {
    if (!progress) progress.emplace(title, total, "steps");
    progress->update(done);
  });
}

// How many of the images are recognised as the class they were drawn for.
int64_t recognised(pipeline::ModelSession& session,
                   const networks::Classifier& classifier,
                   const Options& options) {
  const base::Tensor pixels = pipeline::to_uint8_NHWC(draw(session, options, options.count));
  const std::vector<int32_t> labels =
      pipeline::cycle_labels(session.parse_labels("all"), options.count);
  const int64_t classes = classifier.config().num_classes;
  std::vector<float> logits(labels.size() * static_cast<size_t>(classes));
  classifier.forward(pixels.as<uint8_t>(), logits, {});
  const metrics::Classification result = metrics::classify(logits, labels, classes);
  int64_t correct = 0;
  for (int64_t label = 0; label < classes; ++label) correct += result.correct(label);
  return correct;
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

void run(const Options& options) {
  options.common.start_logging();
  base::ThreadPool pool(options.common.threads);
  pipeline::ModelSession exact(
      options.model, options.overrides.over(), {kernels::Precision::kF32, {}}, pool);
  pipeline::ModelSession rounded(
      options.model, options.overrides.over(), {options.precision.or_else(), {}}, pool);
  std::optional<networks::Classifier> classifier;
  if (!options.classifier.empty()) {
    classifier.emplace(networks::Classifier::open(options.classifier, pool));
    pipeline::check_classifier(*classifier, options.classifier, exact.model());
  }
  const std::vector<int32_t> labels =
      pipeline::cycle_labels(exact.parse_labels("all"), options.images);
  const pipeline::PrecisionReport report =
      pipeline::compare_precisions(exact.executor(),
                                   rounded.executor(),
                                   exact.model().config().objective,
                                   draw(exact, options, options.images),
                                   labels,
                                   options.levels,
                                   options.seed);
  base::Json json = machine_json(pool.size());
  json["model"] = options.model;
  json["dtype"] = kernels::to_word(rounded.precision());
  json.update(report_json(report));
  fmt::print("{}: {} against f32, {} images at each of {} noise levels\n",
             options.model,
             kernels::to_word(rounded.precision()),
             options.images,
             options.levels);
  print_report(report);
  if (classifier) {
    const double count = static_cast<double>(options.count);
    const double share_exact = static_cast<double>(recognised(exact, *classifier, options)) / count;
    const double share = static_cast<double>(recognised(rounded, *classifier, options)) / count;
    json["count"] = options.count;
    json["recognised_f32"] = share_exact;
    json["recognised"] = share;
    fmt::print("recognised of {} with the same seeds: {:.2f}% in f32, {:.2f}% in {}\n",
               options.count,
               100 * share_exact,
               100 * share,
               kernels::to_word(rounded.precision()));
  }
  if (options.common.json) print_json(json);
}

void add_options(CLI::App& app, Options& options) {
  app.add_option("MODEL", options.model, "A safetensors file")
      ->option_text("(required)")
      ->required();
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
  app.add_option("--seed", options.seed, "Of the drawn images (default: 0)")
      ->option_text("N")
      ->check(whole_number(0, std::numeric_limits<uint64_t>::max()));
}

}  // namespace

void add_bench_precision(CLI::App& bench, Commands& commands) {
  CLI::App* precision = bench.add_subcommand(
      "precision", "What rounding to bf16 or int8 changes in a model, against f32");
  const auto options = std::make_shared<Options>();
  add_options(*precision, *options);
  add_precision(*precision, options->precision);
  add_sampling(*precision, options->sampling);
  add_threads(*precision, options->common);
  add_json(*precision, options->common);
  add_logging(*precision, options->common);
  add_overrides(*precision, options->overrides);
  precision->footer(
      "Example:\n"
      "  ditmoe bench precision models/fashion-moe.safetensors --dtype int8 \\\n"
      "    --classifier models/fashion-classifier.safetensors --count 5000");
  commands.push_back({precision, [options] { run(*options); }});
}

}  // namespace ditmoe::apps
