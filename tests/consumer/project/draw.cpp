// draw OUT.png: two images from a model that ships with ditmoe, through its installed libraries.

#include <cstdio>

#include "ditmoe/base/error.h"
#include "ditmoe/base/thread_pool.h"
#include "ditmoe/formats/png.h"
#include "ditmoe/networks/dit_executor.h"
#include "ditmoe/networks/model_file.h"
#include "ditmoe/pipeline/generate.h"
#include "ditmoe/pipeline/grid.h"

namespace {

void draw(const char* picture_path) {
  ditmoe::base::ThreadPool pool;
  const auto model =
      ditmoe::networks::ModelFile::open(DITMOE_MODELS_DIR "/fashion-moe.safetensors");
  ditmoe::networks::DitExecutor network(model, {}, pool);

  ditmoe::pipeline::GenerateRequest request;
  request.labels = {0, 1};
  request.sampler = model.sampling().sampler;
  request.steps = 2;
  const auto images = ditmoe::pipeline::generate(network, request);
  const auto pixels = ditmoe::pipeline::to_uint8_NHWC(images);
  ditmoe::formats::write_png(picture_path, ditmoe::pipeline::make_grid(pixels, {}));
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: draw OUT.png\n");
    return 2;
  }
  try {
    draw(argv[1]);
  } catch (const ditmoe::base::Error& error) {
    std::fprintf(stderr, "draw: %s\n", error.what());
    return 1;
  }
  return 0;
}
