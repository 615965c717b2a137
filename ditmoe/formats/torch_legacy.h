#pragma once

#include <cstddef>
#include <span>
#include <string>

#include "ditmoe/formats/torch_archive.h"

namespace ditmoe::formats {

// Whether a file begins as what torch.save wrote before version 1.6: with a certain number, pickled
// by protocol 2 or later.
bool is_torch_legacy(std::span<const std::byte> file);

// Reads a file of torch.save before version 1.6, still written with
// _use_new_zipfile_serialization=False: five pickles, that number, the protocol (1001), the
// machine, the checkpoint and the list of its storages; then these, each after its number of
// elements. file must outlive the result; path names it in messages. Throws bad_input naming path
// and place for anything else.
TorchArchive read_torch_legacy(const std::string& path, std::span<const std::byte> file);

}  // namespace ditmoe::formats
