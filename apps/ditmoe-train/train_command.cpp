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
#include "ditmoe/training/vae_recipe.h"
#include "ditmoe/training/vae_trainer.h"

#include "apps/command_line/options.h"
#include "apps/ditmoe-train/commands.h"

namespace ditmoe::apps {
namespace {

struct TrainArguments {
  std::string recipe;
  std::vector<std::string> assignments;
  std::string out;
  bool resume = false;
  std::string kernels = "native";
  std::string inject;
  CommonOptions common;
};

std::string default_out(const std::string& recipe_path) {
  const size_t slash = recipe_path.rfind('/');
  const std::string file = slash == std::string::npos ? recipe_path : recipe_path.substr(slash + 1);
  return "runs/" + file.substr(0, file.rfind(".toml"));
}

void run_train(const TrainArguments& arguments) {
  arguments.common.start_logging();
  formats::TomlDocument document = formats::TomlDocument::open(arguments.recipe);
  for (const std::string& assignment : arguments.assignments) document.set(assignment);
  const std::string out = arguments.out.empty() ? default_out(arguments.recipe) : arguments.out;
  std::string kind = "dit";
  document.get("kind", kind);
  set_torch_threads(arguments.common.threads);
  if (kind == "classifier") {
    if (arguments.resume) base::bad_input("--resume: the run of a classifier starts anew");
    training::train_classifier(document, out, arguments.common.threads);
    return;
  }
  if (kind == "vae") {
    const training::VaeRecipe recipe = training::read_vae_recipe(document);
    training::train_vae(recipe, {out, arguments.resume, arguments.common.threads});
    return;
  }
  if (kind != "dit") {
    base::bad_input("{}: expected \"dit\", \"vae\" or \"classifier\", found \"{}\"",
                    document.where("kind"),
                    kind);
  }
  const training::Recipe recipe = training::read_recipe(document);
  const bool aten = arguments.kernels == "aten";
  training::train(recipe,
                  {out,
                   arguments.resume,
                   aten ? autograd::Kernels::kAten : autograd::Kernels::kNative,
                   arguments.inject});
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

void add_train(CLI::App& app, Commands& commands) {
  auto arguments = std::make_shared<TrainArguments>();
  CLI::App* parser = app.add_subcommand("train", "Run a recipe: train, checkpoint, draw samples");
  parser->add_option("RECIPE", arguments->recipe, "A recipe in TOML")
      ->option_text("(required)")
      ->required();
  parser
      ->add_option("--set",
                   arguments->assignments,
                   "Override a key of the recipe; may be repeated:\n--set train.steps=500")
      ->option_text("KEY=VALUE")
      ->expected(1)
      ->take_all();
  parser->add_option("--out", arguments->out, "Run folder (default: runs/ and the recipe's name)")
      ->option_text("FOLDER");
  parser->add_option("--kernels", arguments->kernels, "Ours or ATen's operations (default: native)")
      ->option_text("native|aten")
      ->check(CLI::IsMember({"native", "aten"}));
  parser
      ->add_option("--inject",
                   arguments->inject,
                   "Make faults on purpose, to see what comes of them:\n"
                   "loss@100,gradient@200,data@300,spike@400")
      ->option_text("FAULT@STEP,...");
  parser->add_flag("--resume", arguments->resume, "Continue the run in the run folder");
  add_threads(*parser, arguments->common);
  add_logging(*parser, arguments->common);
  parser->footer("Example:\n  ditmoe train recipes/smoke.toml --out runs/smoke");
  commands.push_back({parser, [arguments] { run_train(*arguments); }});
}

}  // namespace ditmoe::apps
