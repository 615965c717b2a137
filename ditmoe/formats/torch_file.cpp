#include "ditmoe/formats/torch_file.h"

#include <mutex>
#include <utility>
#include <vector>

#include "ditmoe/base/error.h"
#include "ditmoe/formats/bytes.h"
#include "ditmoe/formats/torch_checkpoint.h"
#include "ditmoe/formats/torch_tensor.h"

namespace ditmoe::formats {
namespace {

// Beyond the file's size, what its tensors may take when they are put together.
constexpr uint64_t kMaxExpansion = uint64_t{64} << 20;

class TorchTensors final : public TensorFile {
 public:
  TorchTensors(const std::string& path,
               std::vector<TensorEntry> entries,
               std::map<std::string, std::string> metadata,
               MappedFile file,
               std::vector<TorchTensor> tensors)
      : TensorFile(path, std::move(entries), std::move(metadata)),
        file_(std::move(file)),
        tensors_(std::move(tensors)) {}

  FileFormat format() const override { return FileFormat::kPytorch; }

  base::TensorView view(const std::string& name) const override {
    const size_t index = index_of(name);
    const TorchTensor& tensor = tensors_[index];
    if (tensor.is_contiguous) return {tensor.dtype, tensor.shape, tensor.data};
    const std::lock_guard lock(mutex_);
    base::Tensor& gathered = gathered_[index];
    if (gathered.view().data == nullptr) {
      gathered = base::Tensor(tensor.dtype, tensor.shape);
      gather(tensor, gathered.data());
      file_.expect_whole();
    }
    return gathered.view();
  }

  void expect_whole() const override { file_.expect_whole(); }

  void release(std::span<const std::byte> part) const override {
    if (file_.contains(part)) file_.release(part);
  }

 private:
  MappedFile file_;
  std::vector<TorchTensor> tensors_;  // as entries()
  mutable std::mutex mutex_;
  mutable std::map<size_t, base::Tensor> gathered_;
};

}  // namespace

std::shared_ptr<const TensorFile> open_torch_file(const TorchArchive& archive,
                                                  const MappedFile& file,
                                                  std::optional<WeightSet> weights) {
  std::vector<TensorEntry> entries;
  std::vector<TorchTensor> tensors;
  uint64_t left = archive.file.size() + kMaxExpansion;  // for what is put together
  for (const auto& [name, value] : find_torch_weights(archive, weights)) {
    TorchTensor tensor = read_torch_tensor(value, name, archive);
    if (!tensor.is_contiguous && tensor.bytes > left) {
      base::bad_input(
          "{}: tensor {}: expected at most {} bytes of tensors that are not row-major, found {} "
          "more",
          archive.path,
          printable(name),
          archive.file.size() + kMaxExpansion,
          tensor.bytes - left);
    }
    if (!tensor.is_contiguous) left -= tensor.bytes;
    const auto offset = static_cast<uint64_t>(tensor.data - archive.file.data());
    entries.push_back(
        {name, tensor.dtype, tensor.shape, tensor.is_contiguous ? offset : 0, tensor.bytes});
    tensors.push_back(std::move(tensor));
  }
  file.expect_whole();
  return std::make_shared<TorchTensors>(archive.path,
                                        std::move(entries),
                                        read_torch_arguments(archive.pickle.root()),
                                        file,
                                        std::move(tensors));
}

}  // namespace ditmoe::formats
