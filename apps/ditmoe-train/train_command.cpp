#include <memory>
#include <sched.h>
#include <string>
#include <vector>

#include <torch/torch.h>

#include "ditmoe/base/error.h"
#include "ditmoe/formats/toml.h"
#include "ditmoe/training/classifier_trainer.h"
#include "ditmoe/training/recipe.h"
#include "ditmoe/training/trainer.h"

#include "apps/ditmoe-train/commands.h"

namespace ditmoe::apps {
namespace {

struct TrainArguments {
  std::string recipe;
  std::vector<std::string> assignments;
  std::string out;
  bool resume = false;
  int threads = 0;
};

std::string default_out(const std::string& recipe_path) {
  const size_t slash = recipe_path.rfind('/');
  const std::string file = slash == std::string::npos ? recipe_path : recipe_path.substr(slash + 1);
  return "runs/" + file.substr(0, file.rfind(".toml"));
}

void run_train(const TrainArguments& arguments) {
  formats::TomlDocument document = formats::TomlDocument::open(arguments.recipe);
  for (const std::string& assignment : arguments.assignments) document.set(assignment);
  const std::string out = arguments.out.empty() ? default_out(arguments.recipe) : arguments.out;
  std::string kind = "dit";
  document.get("kind", kind);
  set_torch_threads(arguments.threads);
  if (kind == "classifier") {
    if (arguments.resume) base::bad_input("--resume: the run of a classifier starts anew");
    training::train_classifier(document, out, arguments.threads);
    return;
  }
  if (kind != "dit") {
    base::bad_input(
        "{}: expected \"dit\" or \"classifier\", found \"{}\"", document.where("kind"), kind);
  }
  const training::Recipe recipe = training::read_recipe(document);
  training::train(recipe, {out, arguments.resume});
}

}  // namespace

void set_torch_threads(int threads) {
  if (threads == 0) {
    cpu_set_t allowed;
    CPU_ZERO(&allowed);
    sched_getaffinity(0, sizeof(allowed), &allowed);
    threads = CPU_COUNT(&allowed);
  }
  at::set_num_threads(threads);
  at::globalContext().setDeterministicAlgorithms(true, /*warn_only=*/false);
}

void add_train(CLI::App& app, TrainerCommands& commands) {
  auto arguments = std::make_shared<TrainArguments>();
  CLI::App* parser = app.add_subcommand("train", "Run a recipe: train, checkpoint, draw samples");
  parser->add_option("RECIPE", arguments->recipe, "Recipe in TOML")->required();
  parser->add_option("--set", arguments->assignments, "Override a key: --set train.steps=500")
      ->type_name("KEY=VALUE")
      ->expected(1)
      ->take_all();
  parser->add_option("--out", arguments->out, "Run folder (default: runs/ and the recipe's name)");
  parser->add_flag("--resume", arguments->resume, "Continue the run in the run folder");
  parser->add_option("--threads", arguments->threads, "Threads; 0 is one per CPU")
      ->check(CLI::Range(0, 1024))
      ->capture_default_str();
  parser->footer("Example: ditmoe train recipes/smoke.toml --out runs/smoke");
  commands.push_back({parser, [arguments] { run_train(*arguments); }});
}

}  // namespace ditmoe::apps
