#include <algorithm>
#include <chrono>
#include <limits>
#include <memory>

#include "ditmoe/base/cpu.h"
#include "ditmoe/base/error.h"
#include "ditmoe/base/progress.h"
#include "ditmoe/base/sha256.h"
#include "ditmoe/base/thread_pool.h"
#include "ditmoe/base/version.h"
#include "ditmoe/formats/file.h"
#include "ditmoe/pipeline/judge.h"
#include "ditmoe/pipeline/labels.h"
#include "ditmoe/pipeline/model_session.h"
#include "ditmoe/pipeline/settings.h"

#include "apps/ditmoe/command.h"

namespace ditmoe::apps {
namespace {

struct Options {
  std::string model;
  std::string classifier;
  std::string real = "/usr/share/datasets/fashion-mnist";
  int64_t count = 1000;
  int64_t real_count = 1000;
  int64_t k = 3;
  uint64_t seed = 0;
  int64_t batch = 0;
  SamplingOptions sampling;
  OverrideOptions overrides;
  ComputeOptions compute;
  CommonOptions common;
};

// Images drawn with one guidance scale, judged.
struct Result {
  double guidance = 1;
  pipeline::Judgement judgement;
  double seconds = 0;
};

void check_fit(const Options& options,
               const networks::ModelFile& model,
               const networks::Classifier& classifier) {
  pipeline::check_classifier(classifier, options.classifier, model);
  if (options.count <= options.k) {
    base::bad_input("--count {}: precision and recall with {} neighbours need more images",
                    options.count,
                    options.k);
  }
}

pipeline::GenerateRequest resolve(const Options& options, const networks::ModelFile& model) {
  pipeline::GenerateRequest request = pipeline::default_request(model);
  options.sampling.apply(model, request);
  std::vector<int32_t> classes(static_cast<size_t>(model.config().num_classes));
  for (size_t i = 0; i < classes.size(); ++i) classes[i] = static_cast<int32_t>(i);
  request.labels = pipeline::cycle_labels(classes, options.count);
  request.seed = options.seed;
  request.batch = options.batch;
  pipeline::check_request(request, model);
  return request;
}

Result draw_and_judge(pipeline::ModelSession& session,
                      const pipeline::GenerateRequest& request,
                      pipeline::Judge& judge) {
  const auto start = std::chrono::steady_clock::now();
  std::optional<base::Progress> progress;
  const std::string title = fmt::format("guidance {}", request.guidance.scale);
  const base::Tensor images = session.generate(request, [&](int64_t done, int64_t total) {
    if (!progress) progress.emplace(title, total, "steps");
    progress->update(done);
  });
  progress.reset();
  Result result;
  result.guidance = request.guidance.scale;
  result.judgement = judge.judge(pipeline::to_uint8_NHWC(images), request.labels);
  result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return result;
}

base::Json file_json(const std::string& path) {
  const auto file = formats::MappedFile::open(path);
  const std::string sha256 = base::sha256_hex(file.bytes());
  file.expect_whole();
  return {{"file", path}, {"sha256", sha256}};
}

base::Json result_json(const Result& result) {
  const metrics::Classification& classes = result.judgement.classification;
  base::Json json = {{"cfg", result.guidance},
                     {"recognised", classes.accuracy()},
                     {"precision", result.judgement.manifold.precision},
                     {"recall", result.judgement.manifold.recall},
                     {"seconds", result.seconds}};
  json["per_class"] = base::Json::array();
  for (int64_t label = 0; label < classes.num_classes; ++label) {
    json["per_class"].push_back({{"label", label},
                                 {"images", classes.count(label)},
                                 {"recognised", classes.correct(label)}});
  }
  json["confusion"] = classes.confusion;
  return json;
}

// Everything that it takes to repeat the figures.
base::Json report_json(const Options& options,
                       const pipeline::ModelSession& session,
                       const pipeline::GenerateRequest& request,
                       const pipeline::ReferenceImages& reference,
                       const std::vector<Result>& results) {
  base::Json json = {{"version", base::version()},
                     {"cpu", base::cpu_name()},
                     {"model", file_json(options.model)},
                     {"classifier", file_json(options.classifier)}};
  json["real"]["files"] = base::Json::array();
  for (const std::string& file : reference.files) json["real"]["files"].push_back(file_json(file));
  json["real"]["count"] = options.real_count;
  json["real"]["selection"] = reference.selection;
  json["count"] = options.count;
  json["labels"] = "all classes in turn";
  json["sampler"] = request.sampler;
  json["steps"] = request.steps;
  json["cfg_channels"] = pipeline::guided_channels_word(request.guidance.all_channels);
  json["dtype"] = kernels::to_word(session.precision());
  const networks::DitConfig& config = session.model().config();
  json["objective"] = networks::to_word(config.objective);
  json["heads"] = config.heads;
  if (config.feed_forward == networks::FeedForward::kMoe) json["top_k"] = config.top_k;
  json["batch"] = options.batch;  // 0: as many as are quick
  json["cfg_interval"] = {request.guidance.interval.low, request.guidance.interval.high};
  json["seed"] = request.seed;
  json["k"] = options.k;
  json["results"] = base::Json::array();
  for (const Result& result : results) json["results"].push_back(result_json(result));
  return json;
}

template <typename Format>
void print_row(const std::string& title, const std::vector<Result>& results, Format&& format) {
  fmt::print("  {:<22}", title);
  for (const Result& result : results) fmt::print("{:>14}", format(result));
  fmt::print("\n");
}

std::string percent(int64_t part, int64_t whole) {
  if (whole == 0) return "-";
  return fmt::format("{:.1f}%", 100.0 * static_cast<double>(part) / static_cast<double>(whole));
}

void print_table(const Options& options,
                 const pipeline::GenerateRequest& request,
                 const pipeline::ReferenceImages& reference,
                 const std::vector<Result>& results,
                 const pipeline::ModelSession& session) {
  fmt::print("{}: {} images, all classes in turn, {} with {} steps, seed {}\n",
             options.model,
             options.count,
             request.sampler,
             request.steps,
             request.seed);
  if (request.guidance.interval != diffusion::Guidance::Interval{}) {
    fmt::print("guidance at noise levels {} alone\n",
               pipeline::interval_words(request.guidance.interval));
  }
  fmt::print("judged by {}; {} neighbours among real images: {} of {}\n\n",
             options.classifier,
             options.k,
             reference.selection,
             reference.files.front());
  print_row("", results, [](const Result& r) { return fmt::format("guidance {}", r.guidance); });
  print_row("recognised", results, [](const Result& r) {
    return fmt::format("{:.1f}%", 100 * r.judgement.classification.accuracy());
  });
  print_row("precision", results, [](const Result& r) {
    return fmt::format("{:.3f}", r.judgement.manifold.precision);
  });
  print_row("recall", results, [](const Result& r) {
    return fmt::format("{:.3f}", r.judgement.manifold.recall);
  });
  print_row("seconds", results, [](const Result& r) { return fmt::format("{:.1f}", r.seconds); });
  fmt::print("\n  recognised, by class\n");
  for (int32_t label = 0; label < session.model().config().num_classes; ++label) {
    print_row(session.label_name(label), results, [label](const Result& r) {
      const metrics::Classification& classes = r.judgement.classification;
      return percent(classes.correct(label), classes.count(label));
    });
  }
}

void run(const Options& options) {
  options.common.start_logging();
  base::ThreadPool pool(options.common.threads);
  pipeline::ModelSession session(
      options.model, options.overrides.over(), options.compute.session(), pool);
  networks::Classifier classifier = networks::Classifier::open(options.classifier, pool);
  check_fit(options, session.model(), classifier);
  pipeline::GenerateRequest request = resolve(options, session.model());
  const pipeline::ReferenceImages reference = pipeline::read_reference_images(
      options.real, options.real_count, session.model().config().num_classes);
  pipeline::Judge judge(classifier, reference, options.k, pool);

  std::vector<double> scales = {request.guidance.scale};
  if (request.guidance.scale != 1.0) scales.push_back(1.0);
  std::vector<Result> results;
  for (const double scale : scales) {
    request.guidance.scale = scale;
    results.push_back(draw_and_judge(session, request, judge));
  }
  print_table(options, request, reference, results, session);
  if (options.common.json) {
    print_json(report_json(options, session, request, reference, results));
  }
}

void add_options(CLI::App& app, Options& options) {
  app.add_option("MODEL", options.model, kModelText)->option_text("(required)")->required();
  app.add_option("--classifier", options.classifier, "The classifier that judges the images")
      ->option_text("FILE (required)")
      ->required();
  app.add_option("--count", options.count, "Images to draw, classes in turn (default: 1000)")
      ->option_text("N")
      ->check(whole_number(1, 1'000'000));
  app.add_option("--real",
                 options.real,
                 "Real test images: an IDX file, or a folder with\n"
                 "t10k-images-idx3-ubyte[.gz]\n"
                 "(default: " +
                     options.real + ")")
      ->option_text("PATH");
  app.add_option("--real-count",
                 options.real_count,
                 "Real images to compare with, as many of each class where they\n"
                 "have labels (default: 1000)")
      ->option_text("N")
      ->check(whole_number(1, 1'000'000));
  app.add_option("--k", options.k, "Neighbours of precision and recall (default: 3)")
      ->option_text("N")
      ->check(whole_number(1, 1000));
  app.add_option("--seed", options.seed, "Of the drawn images (default: 0)")
      ->option_text("N")
      ->check(whole_number(0, std::numeric_limits<uint64_t>::max()));
  app.add_option("--batch", options.batch, "Images at a time (default: up to 32)")
      ->option_text("N")
      ->check(whole_number(1, 4096));
}

}  // namespace

void add_evaluate(CLI::App& app, Commands& commands) {
  CLI::App* evaluate =
      app.add_subcommand("evaluate", "Draw images of all classes and have a classifier judge them");
  const auto options = std::make_shared<Options>();
  add_options(*evaluate, *options);
  add_sampling(*evaluate, options->sampling);
  add_precision(*evaluate, options->compute);
  add_memory(*evaluate, options->compute);
  add_threads(*evaluate, options->common);
  add_json(*evaluate, options->common);
  add_logging(*evaluate, options->common);
  add_overrides(*evaluate, options->overrides);
  evaluate->footer(
      "Prints the share recognised as the class asked for, and precision and recall in the\n"
      "classifier's features (Kynkaanniemi et al. 2019), with and without guidance.\n"
      "Example:\n"
      "  ditmoe evaluate models/fashion-moe.safetensors \\\n"
      "    --classifier models/fashion-classifier.safetensors --count 1000");
  commands.push_back({evaluate, [options] { run(*options); }});
}

}  // namespace ditmoe::apps
