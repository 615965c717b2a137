#pragma once

#include <string>
#include <vector>

#include "ditmoe/networks/dit_config.h"

namespace ditmoe::apps {

// What a run of the program left behind.
struct Outcome {
  int exit_code = -1;
  std::string out;
  std::string err;
};

// A fresh folder, removed with the object.
class TemporaryFolder {
 public:
  TemporaryFolder();
  ~TemporaryFolder();
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;

  const std::string& path() const { return path_; }

  std::string operator/(const std::string& name) const { return path_ + "/" + name; }

  // Names of everything in it, sorted.
  std::vector<std::string> names() const;

 private:
  std::string path_;
};

// Runs a program, the built `ditmoe` unless told, with these arguments and waits for it.
Outcome run(const std::vector<std::string>& arguments, const std::string& program = DITMOE_PROGRAM);

// A MoE of a few thousand parameters: 8x8 grey images, three classes.
networks::DitConfig tiny_config();

// Writes a network with small random weights; three class names, ddim with 5 steps and guidance 2.
void write_random_model(const std::string& path, const networks::DitConfig& config);

}  // namespace ditmoe::apps
