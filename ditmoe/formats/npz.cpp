#include "ditmoe/formats/npz.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <set>
#include <span>

#include <fmt/format.h>

#include "ditmoe/base/error.h"
#include "ditmoe/formats/bytes.h"
#include "ditmoe/formats/file.h"
#include "ditmoe/formats/npy.h"
#include "ditmoe/formats/zip.h"

namespace ditmoe::formats {
namespace {

using base::bad_input;
using base::Tensor;

constexpr std::string_view kSuffix = ".npy";

NpyHeader read_header(ZipEntryReader& reader, const std::string& place) {
  std::array<std::byte, kNpyPrefixBytes + 2> prefix = {};
  reader.read(std::span(prefix).first(kNpyPrefixBytes));
  if (std::memcmp(prefix.data(), "\x93NUMPY", 6) != 0) {
    bad_input("{}: byte 0: expected the magic bytes of a npy file", place);
  }
  const auto version = std::to_integer<int>(prefix[6]);
  if (version < 1 || version > 3 || prefix[7] != std::byte{0}) {
    bad_input("{}: byte 6: expected npy version 1.0, 2.0 or 3.0, found {}.{}",
              place,
              version,
              std::to_integer<int>(prefix[7]));
  }
  if (version > 1) reader.read(std::span(prefix).last(2));
  const uint64_t length = load_little<uint32_t>(prefix.data() + 8);
  if (length > kMaxNpyHeaderBytes) {
    bad_input("{}: byte 8: expected a header of at most {} bytes, found {}",
              place,
              kMaxNpyHeaderBytes,
              length);
  }
  std::string text(static_cast<size_t>(length), '\0');
  reader.read(std::as_writable_bytes(std::span(text)));
  return parse_npy_header(text, place);
}

// Reads the entry to its end and keeps nothing.
void check_content(const ZipEntry& entry, const std::string& place) {
  ZipEntryReader reader(entry, place);
  std::vector<std::byte> piece(size_t{1} << 16);
  while (reader.remaining() > 0) {
    reader.read(std::span(piece).first(std::min<uint64_t>(piece.size(), reader.remaining())));
  }
  reader.finish();
}

Tensor read_array(const ZipEntry& entry, const std::string& place) {
  ZipEntryReader reader(entry, place);
  NpyHeader header = read_header(reader, place);
  const auto expected = tensor_bytes(header.shape, header.dtype);
  if (!expected || *expected != reader.remaining()) {
    bad_input("{}: expected {} bytes of data for {} {}, found {}",
              place,
              expected ? std::to_string(*expected) : "over 2^63",
              base::name_of(header.dtype),
              base::to_string(header.shape),
              reader.remaining());
  }
  Tensor tensor(header.dtype, std::move(header.shape));
  const std::span<std::byte> data(tensor.data(), tensor.bytes());
  reader.read(data);
  reader.finish();
  // A bool of another value would be undefined behaviour wherever it is used.
  if (tensor.dtype() == base::DType::kBool &&
      std::any_of(data.begin(), data.end(), [](std::byte b) { return b > std::byte{1}; })) {
    bad_input("{}: expected truth values 0 and 1, found another", place);
  }
  return tensor;
}

}  // namespace

std::map<std::string, Tensor> read_npz(const std::string& path) {
  const MappedFile file = MappedFile::open(path);
  std::map<std::string, Tensor> arrays = read_npz(file.bytes(), path);
  file.expect_whole();
  return arrays;
}

std::map<std::string, Tensor> read_npz(std::span<const std::byte> archive,
                                       const std::string& path) {
  const std::vector<ZipEntry> entries = read_zip_directory(archive, path);
  const auto place_of = [&path](const ZipEntry& entry) {
    return fmt::format("{}: entry {}", path, printable(entry.name));
  };
  // What claims to expand by more is read once to see that it does, before memory is taken for it.
  uint64_t claimed = 0;
  for (const ZipEntry& entry : entries) {
    const bool has_name =
        entry.name.ends_with(kSuffix) && entry.name.find('\0') == std::string::npos;
    if (!has_name) bad_input("{}: expected a name ending in .npy", place_of(entry));
    claimed += entry.bytes;  // each at most kMaxInflation times what it takes in the archive
  }
  if (claimed > archive.size() + kMaxUnproven) {
    for (const ZipEntry& entry : entries) check_content(entry, place_of(entry));
  }
  std::map<std::string, Tensor> arrays;
  for (const ZipEntry& entry : entries) {
    const std::string name = entry.name.substr(0, entry.name.size() - kSuffix.size());
    arrays.emplace(name, read_array(entry, place_of(entry)));
  }
  return arrays;
}

void write_npz(const std::string& path,
               const std::vector<std::pair<std::string, base::TensorView>>& arrays) {
  AtomicFile file(path);
  ZipWriter zip(file);
  std::set<std::string> names;
  for (const auto& [name, view] : arrays) {
    const std::string place = fmt::format("{}: array {}", path, printable(name));
    if (!names.insert(name).second) base::failure("{}: written twice", place);
    const std::string head = npy_head({view.dtype, view.shape}, place);
    zip.add(name + std::string(kSuffix),
            {std::as_bytes(std::span(head)), {view.data, view.bytes()}});
  }
  zip.finish();
  file.commit();
}

const Tensor& array(const std::map<std::string, Tensor>& arrays,
                    const std::string& name,
                    const std::string& path) {
  const auto found = arrays.find(name);
  if (found == arrays.end()) bad_input("{}: expected array '{}'", path, name);
  return found->second;
}

}  // namespace ditmoe::formats
