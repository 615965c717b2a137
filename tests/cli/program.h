#pragma once

#include <cstdint>
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

// A run of the built `ditmoe` that goes on meanwhile; what it prints is lost.
class Process {
 public:
  explicit Process(const std::vector<std::string>& arguments);
  ~Process();
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;

  // Waits until it has written this much to files and streams; false where it ended before.
  bool wait_until_written(uint64_t bytes) const;

  // SIGKILL.
  void kill();

  // Its exit code; 128 where a signal ended it.
  int wait();

  // What it had in memory at most. Call after wait.
  uint64_t peak_bytes() const { return peak_bytes_; }

 private:
  int id_ = -1;
  uint64_t peak_bytes_ = 0;
};

// A MoE of a few thousand parameters: 8x8 grey images, three classes.
networks::DitConfig tiny_config();

// Writes a network with small random weights; three class names, ddim with 5 steps and guidance 2.
void write_random_model(const std::string& path, const networks::DitConfig& config);

}  // namespace ditmoe::apps
