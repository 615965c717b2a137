#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "ditmoe/base/thread_pool.h"
#include "ditmoe/formats/tensor_file.h"
#include "ditmoe/networks/expert_stream.h"
#include "ditmoe/networks/matrix_source.h"
#include "ditmoe/networks/model_metadata.h"
#include "ditmoe/networks/packed_checksums.h"

namespace ditmoe::networks {

// A packed model file is a safetensors file in which the matrices stand as the kernels read them
// (kernels/blocked_layout.h), so that it is mapped and used in place, and never copied. For group G
// (matrix_group.h): "G.packed", its matrices one after another, each a multiple of 4096 bytes and
// beginning at one; "G.scale" F32 and "G.offset" I32, one entry per output, of int8; "G.bias" F32.
// plain_tensors are there in F32 under their own names. The experts of a layer follow one another.
// The last tensor is that of packed_checksums.h.
// `__metadata__` says so under "ditmoe.packed".

// Precision of the large products of a packed file; nullopt for any other file. Throws bad_input
// for a layout this program does not know.
std::optional<kernels::Precision> packed_precision(const Metadata& metadata,
                                                   const std::string& source);

// The tensors of a packed file in the order of their data.
std::vector<formats::TensorEntry> packed_entries(const DitConfig& config,
                                                 kernels::Precision precision);

// Throws bad_input naming the tensor unless the file has exactly the packed tensors of config,
// which must be valid.
void check_packed(const formats::TensorFile& file,
                  const DitConfig& config,
                  kernels::Precision precision);

// Where the experts of each sparse layer stand in a file that has passed check_packed.
std::vector<ExpertRegion> expert_regions(const formats::TensorFile& file,
                                         const DitConfig& config,
                                         kernels::Precision precision);

// Writes weights as a packed file, a few matrices at a time; metadata without "ditmoe.packed".
// Appears whole or not at all. Throws failure on an I/O error.
void write_packed(const std::string& path,
                  const WeightSource& weights,
                  kernels::Precision precision,
                  Metadata metadata,
                  base::ThreadPool& pool);

// The matrices of a packed file, in place where the layout is the CPU's own.
class PackedSource final : public MatrixSource {
 public:
  // file has passed check_packed. experts_stream: experts' bytes are not looked at, they are read
  // elsewhere. matmul and arena must outlive this object and what it gives,
  // the mapping lives as long as arena's user keeps file. Throws bad_input for damaged
  // tensors, as matrices does.
  PackedSource(std::shared_ptr<const formats::TensorFile> file,
               const DitConfig& config,
               kernels::Precision precision,
               bool experts_stream,
               kernels::Matmul& matmul,
               base::Arena& arena);

  const DitConfig& config() const override { return config_; }

  kernels::Precision precision() const override { return precision_; }

  std::vector<kernels::PackedMatrix> matrices(const MatrixGroup& group) const override;
  base::Tensor floats(const std::string& name) const override;

 private:
  bool is_streamed(const formats::TensorEntry& entry) const;

  std::shared_ptr<const formats::TensorFile> file_;
  PackedChecksums checksums_;
  const DitConfig& config_;
  kernels::Precision precision_;
  kernels::Matmul& matmul_;
  base::Arena& arena_;
  std::vector<ExpertRegion> streamed_;
};

}  // namespace ditmoe::networks
