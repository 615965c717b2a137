#include "ditmoe/formats/torch_legacy.h"

#include <algorithm>
#include <string_view>
#include <utility>

#include <fmt/format.h>

#include "ditmoe/base/error.h"
#include "ditmoe/formats/bytes.h"
#include "ditmoe/formats/torch_tensor.h"

namespace ditmoe::formats {
namespace {

using base::bad_input;

// 0x1950a86a20f9469cfc6c, lowest byte first.
constexpr std::string_view kMagic = "\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19";
constexpr int64_t kProtocol = 1001;
constexpr uint64_t kLongestPickle = uint64_t{64} << 20;

class LegacyReader {
 public:
  LegacyReader(const std::string& path, std::span<const std::byte> file)
      : path_(path), file_(file) {}

  TorchArchive read() {
    const Pickle magic = next_pickle();
    if (!magic.root().is(PickleKind::kBigInteger) || magic.root().text() != kMagic) {
      fail(begin_, "expected the number of torch.save, found {}", magic.root().describe());
    }
    const Pickle protocol = next_pickle();
    if (!protocol.root().is(PickleKind::kInteger) || protocol.root().integer() != kProtocol) {
      fail(begin_, "expected protocol {}, found {}", kProtocol, protocol.root().describe());
    }
    check_machine(next_pickle().root());
    Pickle checkpoint = next_pickle();
    TorchArchive archive = {
        path_, file_, std::move(checkpoint), {}, fmt::format("pickle at byte {},", begin_)};
    const Pickle keys = next_pickle();
    read_storages(keys.root(), archive);
    return archive;
  }

 private:
  template <typename... Args>
  [[noreturn]] void fail(uint64_t byte, fmt::format_string<Args...> format, Args&&... args) const {
    bad_input("{}: byte {}: {}", path_, byte, fmt::format(format, std::forward<Args>(args)...));
  }

  std::span<const std::byte> rest() const { return file_.subspan(static_cast<size_t>(position_)); }

  Pickle next_pickle() {
    begin_ = position_;
    const auto bytes = rest().first(std::min<size_t>(rest().size(), kLongestPickle));
    Pickle pickle = Pickle::parse(bytes, fmt::format("{}: pickle at byte {}", path_, begin_));
    position_ += pickle.size();
    return pickle;
  }

  // A dict that says, among other things, whether the machine was little-endian.
  void check_machine(const PickleValue& machine) const {
    if (!machine.is(PickleKind::kDict)) {
      fail(begin_, "expected a dict about the machine, found {}", machine.describe());
    }
    for (const auto& [key, value] : machine.pairs()) {
      const bool is_order = key.is(PickleKind::kText) && key.text() == "little_endian";
      if (is_order && !(value.is(PickleKind::kBool) && value.boolean())) {
        fail(begin_, "expected little_endian True, found {}", value.describe());
      }
    }
  }

  void read_storages(const PickleValue& keys, TorchArchive& archive) {
    if (!keys.is(PickleKind::kList)) {
      fail(begin_, "expected the list of the storages, found {}", keys.describe());
    }
    const std::map<std::string_view, size_t> element_bytes = torch_storage_widths(archive.pickle);
    for (const PickleValue& key : keys.items()) {
      if (!key.is(PickleKind::kText)) {
        fail(begin_, "expected names of storages, found {}", key.describe());
      }
      const auto width = element_bytes.find(key.text());
      if (width == element_bytes.end()) {
        fail(begin_, "expected storages of the checkpoint, found {}", printable(key.text()));
      }
      if (!archive.storages.emplace(key.text(), next_storage(width->second)).second) {
        fail(begin_, "expected distinct storages, found {} twice", printable(key.text()));
      }
    }
    if (!rest().empty()) {
      fail(position_, "expected the end of the file, found {} more bytes", rest().size());
    }
  }

  std::span<const std::byte> next_storage(size_t element_bytes) {
    const auto bytes = rest();
    if (bytes.size() < sizeof(uint64_t)) {
      fail(position_, "expected the size of a storage, found the end of the file");
    }
    const auto elements = load_little<uint64_t>(bytes.data());
    const uint64_t available = bytes.size() - sizeof(uint64_t);
    if (elements > available / element_bytes) {
      fail(position_,
           "expected a storage of {} elements of {} bytes, found {} bytes in the file",
           elements,
           element_bytes,
           available);
    }
    const auto storage =
        bytes.subspan(sizeof(uint64_t), static_cast<size_t>(elements * element_bytes));
    position_ += sizeof(uint64_t) + storage.size();
    return storage;
  }

  const std::string& path_;
  std::span<const std::byte> file_;
  uint64_t position_ = 0;
  uint64_t begin_ = 0;  // of the last pickle
};

}  // namespace

bool is_torch_legacy(std::span<const std::byte> file) {
  constexpr size_t kBeginning = 32;
  const std::string_view beginning(reinterpret_cast<const char*>(file.data()),
                                   std::min(file.size(), kBeginning));
  return beginning.starts_with('\x80') && beginning.find(kMagic) != std::string_view::npos;
}

TorchArchive read_torch_legacy(const std::string& path, std::span<const std::byte> file) {
  return LegacyReader(path, file).read();
}

}  // namespace ditmoe::formats
