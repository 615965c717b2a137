// Runs that begin with the weights of another model.

#include "ditmoe/training/init_from.h"

#include "ditmoe/networks/model_file.h"

#include "tests/training/run_support.h"

namespace ditmoe::training {
namespace {

class InitFromTest : public TrainerTest {
 protected:
  // A model of random weights; every row of the label table is its number.
  std::string write_model(const networks::DitConfig& config,
                          const std::vector<std::string>& names = {}) {
    ParameterSet parameters(config);
    tests::randomise(parameters, 7);
    const torch::NoGradGuard no_grad;
    at::Tensor labels = parameters["y_embedder.embedding_table.weight"];
    for (int64_t row = 0; row < labels.size(0); ++row) labels[row].fill_(static_cast<double>(row));
    const std::string path = folder("source.safetensors");
    networks::save_model(path,
                         config,
                         parameters.named(parameters.values(), true),
                         names,
                         networks::default_sampling(config.objective),
                         base::DType::kF32);
    return path;
  }

  ParameterSet begun(const std::vector<std::string>& names = {}) {
    ParameterSet parameters(recipe_.model);
    parameters.values().fill_(-1.0);
    init_from(parameters, recipe_, names);
    return parameters;
  }

  static std::vector<double> label_rows(const ParameterSet& parameters) {
    std::vector<double> rows;
    const at::Tensor table = parameters["y_embedder.embedding_table.weight"];
    for (int64_t row = 0; row < table.size(0); ++row) rows.push_back(table[row][0].item<double>());
    return rows;
  }

  std::string init_fault() {
    try {
      begun();
    } catch (const base::Error& error) {
      return error.what();
    }
    return "";
  }
};

TEST_F(InitFromTest, TakesAllOfAModelWithTheSameClasses) {
  recipe_.model.num_classes = 3;
  recipe_.init_from = write_model(recipe_.model);
  EXPECT_THAT(label_rows(begun()), ::testing::ElementsAre(0, 1, 2, 3));
  EXPECT_GT(begun()["blocks.1.attn.qkv.weight"].abs().max().item<double>(), 0.1);
}

TEST_F(InitFromTest, ClassesMeetByName) {
  networks::DitConfig source = recipe_.model;
  source.num_classes = 3;
  recipe_.model.num_classes = 4;
  recipe_.init_from = write_model(source, {"cat", "dog", "cow"});
  EXPECT_THAT(label_rows(begun({"cow", "owl", "cat", "elk"})),
              ::testing::ElementsAre(2, -1, 0, -1, 3));
}

TEST_F(InitFromTest, OtherNumbersOfClassesWithoutNamesBeginAnew) {
  networks::DitConfig source = recipe_.model;
  source.num_classes = 3;
  recipe_.model.num_classes = 2;
  recipe_.init_from = write_model(source);
  EXPECT_THAT(label_rows(begun()), ::testing::ElementsAre(-1, -1, 3));
}

TEST_F(InitFromTest, ImageSizeObjectiveAndVarianceMayDiffer) {
  networks::DitConfig source = recipe_.model;
  source.image_size = 16;
  source.objective = networks::Objective::kRectifiedFlow;
  source.learn_sigma = !recipe_.model.learn_sigma;
  recipe_.init_from = write_model(source);
  const ParameterSet parameters = begun();
  EXPECT_EQ(parameters["final_layer.linear.weight"].max().item<double>(), -1.0);
  EXPECT_GT(parameters["blocks.0.moe.gate.weight"].max().item<double>(), 0.0);
}

TEST_F(InitFromTest, OtherNetworksAreRefusedByTheKeyThatDiffers) {
  networks::DitConfig source = recipe_.model;
  source.depth = 3;
  recipe_.init_from = write_model(source);
  EXPECT_THAT(init_fault(), HasSubstr("expected depth 2 as in the recipe, found 3"));
  source = recipe_.model;
  source.experts = 2;
  recipe_.init_from = write_model(source);
  EXPECT_THAT(init_fault(), HasSubstr("experts"));
  recipe_.init_from = folder("absent.safetensors");
  EXPECT_THAT(init_fault(), HasSubstr("absent.safetensors"));
}

TEST_F(InitFromTest, ARunBeginsThere) {
  recipe_.init_from = write_model(recipe_.model);
  recipe_.steps = 1;
  recipe_.rate.peak = 0;
  train(recipe_, {folder("run")});
  EXPECT_NEAR(label_rows(restored("run").parameters)[5], 5.0, 1e-6);
}

}  // namespace
}  // namespace ditmoe::training
