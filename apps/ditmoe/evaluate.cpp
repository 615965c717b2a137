#include <algorithm>
#include <chrono>
#include <filesystem>
#include <limits>
#include <memory>
#include <optional>

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
#include "ditmoe/pipeline/real_images.h"
#include "ditmoe/pipeline/settings.h"

#include "apps/ditmoe/command.h"

namespace ditmoe::apps {
namespace {

struct Options {
  std::string model;
  std::string classifier;
  std::string real = "/usr/share/datasets/fashion-mnist";
  int64_t count = 1000;
  std::optional<int64_t> real_count;
  bool floor = false;
  int64_t k = 3;
  uint64_t seed = 0;
  int64_t batch = 0;
  SamplingOptions sampling;
  OverrideOptions overrides;
  ComputeOptions compute;
  CommonOptions common;
};

// Real images that drawn ones are compared with: the nearest of some, the distribution of all.
struct Reference {
  pipeline::RealImages images;
  pipeline::Selection compared;
};

// A set of images, judged.
struct Result {
  std::optional<double> guidance;  // of drawn images
  pipeline::Judgement judgement;
  double seconds = 0;
};

// Training images, judged as if they had been drawn.
struct Floor {
  std::vector<std::string> files;
  std::string selection;
  Result result;
};

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

std::string title_of(const Result& result) {
  return result.guidance ? fmt::format("guidance {}", *result.guidance) : "training set";
}

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

Reference read_reference(const Options& options, int64_t num_classes) {
  Reference reference{pipeline::read_real_images(options.real, "t10k", num_classes), {}};
  const int64_t count = options.real_count.value_or(
      pipeline::comparable_count(reference.images, options.count, num_classes));
  reference.compared = pipeline::select_images(reference.images, count, num_classes);
  return reference;
}

Result draw_and_judge(pipeline::ModelSession& session,
                      const pipeline::GenerateRequest& request,
                      const pipeline::Judge& judge) {
  // Pixels are kept until they are judged: of about this many images, whatever their number in all.
  constexpr int64_t kImagesAtATime = 1024;
  const auto start = Clock::now();
  const int64_t batch =
      request.batch > 0 ? request.batch : pipeline::default_batch(session.executor().input_shape());
  const auto count = static_cast<int64_t>(request.labels.size());
  const int64_t part_size = batch * std::max<int64_t>(1, kImagesAtATime / batch);
  Result result{.guidance = request.guidance.scale};
  std::optional<base::Progress> progress;
  pipeline::Observations seen;
  pipeline::GenerateRequest part = request;
  for (int64_t first = 0; first < count; first += part_size) {
    const auto labels =
        std::span(request.labels).subspan(first, std::min(part_size, count - first));
    part.labels.assign(labels.begin(), labels.end());
    part.first_image = request.first_image + first;
    const base::Tensor images = session.generate(part, [&](int64_t done, int64_t) {
      const int64_t total = (count + batch - 1) / batch * request.steps;
      if (!progress) progress.emplace(title_of(result), total, "steps");
      progress->update(first / batch * request.steps + done);
    });
    judge.observe(pipeline::to_uint8_NHWC(images), labels, seen);
  }
  progress.reset();
  result.judgement = judge.judge(seen);
  result.seconds = seconds_since(start);
  return result;
}

Floor judge_training_images(const Options& options,
                            const Reference& reference,
                            int64_t num_classes,
                            const pipeline::Judge& judge) {
  const auto start = Clock::now();
  const std::filesystem::path path(options.real);
  const std::string folder =
      std::filesystem::is_directory(path) ? options.real : path.parent_path().string();
  const auto training =
      pipeline::read_real_images(folder.empty() ? "." : folder, "train", num_classes);
  if (std::filesystem::equivalent(training.files.front(), reference.images.files.front())) {
    base::bad_input("--floor: {} are the real images compared with", training.files.front());
  }
  const auto chosen = pipeline::select_images(training, options.count, num_classes);
  std::vector<int32_t> labels;
  if (!training.labels.empty()) {
    for (const int64_t row : chosen.rows) labels.push_back(training.labels[row]);
  }
  pipeline::Observations seen;
  judge.observe(pipeline::gather_images(training, chosen.rows), labels, seen);
  Floor floor{training.files, chosen.words, {}};
  floor.result.judgement = judge.judge(seen);
  floor.result.seconds = seconds_since(start);
  return floor;
}

base::Json file_json(const std::string& path) {
  const auto file = formats::MappedFile::open(path);
  const std::string sha256 = base::sha256_hex(file.bytes());
  file.expect_whole();
  return {{"file", path}, {"sha256", sha256}};
}

base::Json files_json(const std::vector<std::string>& paths) {
  base::Json json = base::Json::array();
  for (const std::string& path : paths) json.push_back(file_json(path));
  return json;
}

base::Json result_json(const Result& result) {
  const metrics::Classification& classes = result.judgement.classification;
  base::Json json = base::Json::object();
  if (result.guidance) json["cfg"] = *result.guidance;
  if (classes.total() > 0) json["recognised"] = classes.accuracy();  // else without labels
  json["precision"] = result.judgement.manifold.precision;
  json["recall"] = result.judgement.manifold.recall;
  json["frechet_distance"] = result.judgement.frechet_distance;
  json["seconds"] = result.seconds;
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
                       const Reference& reference,
                       const std::vector<Result>& results,
                       const std::optional<Floor>& floor) {
  base::Json json = {{"version", base::version()},
                     {"cpu", base::cpu_name()},
                     {"model", file_json(options.model)},
                     {"classifier", file_json(options.classifier)}};
  json["real"] = {{"files", files_json(reference.images.files)},
                  {"count", reference.compared.rows.size()},
                  {"selection", reference.compared.words},
                  {"frechet_count", reference.images.images_NHWC.dim(0)}};
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
  if (floor) {
    json["floor"] = result_json(floor->result);
    json["floor"]["files"] = files_json(floor->files);
    json["floor"]["count"] = options.count;
    json["floor"]["selection"] = floor->selection;
  }
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

void print_heading(const Options& options,
                   const pipeline::GenerateRequest& request,
                   const Reference& reference,
                   const std::optional<Floor>& floor) {
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
  fmt::print("judged by {}, with {} neighbours\n", options.classifier, options.k);
  fmt::print("real images: {} of {}; for the Frechet distance all {}\n",
             reference.compared.words,
             reference.images.files.front(),
             reference.images.images_NHWC.dim(0));
  if (floor) fmt::print("training set: {} of {}\n", floor->selection, floor->files.front());
  fmt::print("\n");
}

void print_table(const std::vector<Result>& results, const pipeline::ModelSession& session) {
  print_row("", results, title_of);
  print_row("recognised", results, [](const Result& r) {
    return percent(r.judgement.classification.correct(), r.judgement.classification.total());
  });
  print_row("precision", results, [](const Result& r) {
    return fmt::format("{:.3f}", r.judgement.manifold.precision);
  });
  print_row("recall", results, [](const Result& r) {
    return fmt::format("{:.3f}", r.judgement.manifold.recall);
  });
  print_row("Frechet distance", results, [](const Result& r) {
    return fmt::format("{:.2f}", r.judgement.frechet_distance);
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
  const int64_t num_classes = session.model().config().num_classes;
  const Reference reference = read_reference(options, num_classes);
  const pipeline::Judge judge(classifier, reference.images, reference.compared, options.k, pool);
  std::optional<Floor> floor;
  if (options.floor) floor = judge_training_images(options, reference, num_classes, judge);

  std::vector<double> scales = {request.guidance.scale};
  if (request.guidance.scale != 1.0) scales.push_back(1.0);
  std::vector<Result> results;
  for (const double scale : scales) {
    request.guidance.scale = scale;
    results.push_back(draw_and_judge(session, request, judge));
  }
  print_heading(options, request, reference, floor);
  std::vector<Result> columns = results;
  if (floor) columns.push_back(floor->result);
  print_table(columns, session);
  if (options.common.json) {
    print_json(report_json(options, session, request, reference, results, floor));
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
                 "Real images for precision and recall, as many of each class\n"
                 "where they have labels (default: as many as are drawn, at\n"
                 "least 1000 and at most all)")
      ->option_text("N")
      ->check(whole_number(1, 1'000'000));
  app.add_flag("--floor",
               options.floor,
               "Judge as many training images too, which says what perfect\n"
               "samples would get: train-images-idx3-ubyte[.gz] in the\n"
               "folder of --real");
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
      "Prints the share recognised as the class asked for and, in the classifier's features,\n"
      "precision and recall (Kynkaanniemi et al. 2019) and the Frechet distance to all real\n"
      "images (Heusel et al. 2017), with and without guidance.\n"
      "Example:\n"
      "  ditmoe evaluate models/fashion-moe.safetensors \\\n"
      "    --classifier models/fashion-classifier.safetensors --count 1000");
  commands.push_back({evaluate, [options] { run(*options); }});
}

}  // namespace ditmoe::apps
