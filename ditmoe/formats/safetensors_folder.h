#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "ditmoe/formats/tensor_file.h"

namespace ditmoe::formats {

// Data beyond this are spread over several files, as huggingface_hub does it.
inline constexpr uint64_t kShardBytes = 5'000'000'000;

// Throws bad_input where something of this name exists, be it a link to nothing, or a folder of
// this name could not be made.
void expect_new_folder(const std::string& path);

// Writes tensors into a new folder: as <stem>.safetensors where all data are at most shard_bytes,
// else as <stem>-00001-of-00003.safetensors and so on, each of at most shard_bytes unless it holds
// a single tensor, with <stem>.safetensors.index.json beside them, which TensorFile::open reads.
// The folder appears with commit, whole, or not at all.
class SafetensorsFolderWriter {
 public:
  // tensors: names, types and shapes in the order of the data; their offsets are not looked at.
  // metadata: stands in every file. Throws failure on an I/O error or a name used twice, bad_input
  // for more tensors than the readers of file and index take.
  SafetensorsFolderWriter(const std::string& folder,
                          const std::string& stem,
                          const std::vector<TensorEntry>& tensors,
                          const std::map<std::string, std::string>& metadata,
                          uint64_t shard_bytes = kShardBytes);
  ~SafetensorsFolderWriter();
  SafetensorsFolderWriter(const SafetensorsFolderWriter&) = delete;
  SafetensorsFolderWriter& operator=(const SafetensorsFolderWriter&) = delete;

  // A text file for the same folder.
  void add_text(const std::string& name, std::string text);

  // The next bytes of the data, at most to the end of a tensor.
  void write(std::span<const std::byte> bytes);

  // All bytes must have been written.
  void commit();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace ditmoe::formats
