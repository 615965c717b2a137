#pragma once

#include <cstdint>
#include <fstream>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace ditmoe::training {

// The history of a run that logs numbers under names of its own, once as JSON lines (log.jsonl) and
// once as a table (log.csv). A log that cannot be written is a warning.
class TableLog {
 public:
  // Continues the files in run_folder, dropping lines of steps after steps_done: they will come
  // again. columns: the names behind "step".
  TableLog(const std::string& run_folder, std::vector<std::string> columns, int64_t steps_done);

  // values in the order of the columns; what is absent is left out, in the table empty.
  void append(int64_t step, const std::vector<std::optional<double>>& values);

 private:
  std::vector<std::string> columns_;
  std::ofstream json_;
  std::ofstream csv_;
};

}  // namespace ditmoe::training
