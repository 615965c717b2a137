#pragma once

#include <cstddef>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>

#include "ditmoe/formats/pickle.h"

namespace ditmoe::formats {

// What torch.save writes: a pickled value, and the storages that its tensors refer to by name.
struct TorchArchive {
  std::string path;
  std::span<const std::byte> file;
  Pickle pickle;
  std::map<std::string, std::span<const std::byte>, std::less<>> storages;
  std::string pickle_name = "data.pkl";  // in messages
};

// Reads a zip archive as torch.save has written it since version 1.6: one folder with data.pkl, the
// storages data/<name>, and optionally byteorder ("little") and version (a number); all stored, not
// compressed. The storages stay where they are mapped.
//
// Checksums: those of the records that are read here must be right. PyTorch checks none and can
// write files without (torch.serialization.set_crc32_options); one whose version and byteorder have
// wrong ones is taken for such. Storages are not checked, which would mean to read them.
//
// file must outlive the result; path names it in messages. Throws bad_input naming path and place
// for anything else: TorchScript archives, big-endian ones, damage.
TorchArchive read_torch_archive(const std::string& path, std::span<const std::byte> file);

}  // namespace ditmoe::formats
