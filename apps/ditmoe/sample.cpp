#include "apps/sampling/sample.h"

#include <memory>

#include "apps/ditmoe/command.h"

namespace ditmoe::apps {
namespace {

base::Tensor draw(pipeline::ModelSession& session,
                  const pipeline::GenerateRequest& request,
                  const pipeline::GenerateProgress& progress) {
  return session.generate(request, progress);
}

}  // namespace

void add_sample(CLI::App& app, Commands& commands, const Arguments& arguments) {
  const auto options = std::make_shared<SampleOptions>();
  CLI::App* parser = add_sample_command(app, *options);
  commands.push_back({parser, [options, arguments] {
                        if (options->wants_torch()) run_trainer(arguments);
                        sample(*options, draw);
                      }});
}

}  // namespace ditmoe::apps
