#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "ditmoe/base/function_ref.h"

namespace ditmoe::training {

// The checkpoints of a run, in `<run>/checkpoints/step-00001000/` and so on: folders of files with
// a manifest.json (size and CRC-32 of each). A checkpoint appears under its name whole or not at
// all. Only for the holder of the run folder's lock.
class CheckpointStore {
 public:
  // Keeps the newest `keep` >= 1 checkpoints, and the one named best.
  CheckpointStore(std::string run_folder, int64_t keep);

  // Calls write(folder) to put files into a new folder, which then becomes the checkpoint of that
  // step; nothing where there is one already: of the same step, so the same. Removes those that are
  // not to be kept. Throws what write does and failure where the disk does not take it; then the
  // checkpoints there were are as before.
  void save(int64_t step, base::FunctionRef<void(const std::string& folder)> write);

  // The folder of the newest intact checkpoint, or none where there was none at all. Newer ones
  // that are damaged are renamed to damaged-step-N, with a warning. Throws bad_input where none is
  // intact.
  std::optional<std::string> newest();

  // Whether there is a checkpoint, intact or not.
  bool any() const;

  // The checkpoint of that step is not removed any more, until another is the best. Written to
  // checkpoints/best.json with what else is said of it.
  void set_best(int64_t step, double loss);

  struct Best {
    int64_t step = 0;
    double loss = 0;
  };

  // None where there is no best one, or it is gone.
  std::optional<Best> best() const;

  // Of a run that goes on from `step`: forgets a best that came later.
  void forget_after(int64_t step);

  // Throws failure naming the folder where the disk has less room than `bytes`.
  void expect_room(int64_t bytes) const;

  // Removes what a killed process left half-written, in the run folder too.
  void remove_leftovers() const;

 private:
  std::string folder() const;
  std::string path_of(int64_t step) const;
  std::vector<std::string> list() const;
  void prune() const;

  std::string run_folder_;
  int64_t keep_;
};

}  // namespace ditmoe::training
