#pragma once

#include <cstdint>
#include <span>
#include <string>

// The images that a latent cache leaves out: corrupt.jsonl, a JSON object on a line of its own for
// each, in the order of the images:
//   {"image":"dogs/7.png","reason":"byte 60: damaged PNG: unexpected end of the file"}
// The file grows with each shard and may be of any length. How many of its lines count is what
// index.json tells; a run that was stopped may have left more, the last one in part.

namespace ditmoe::data {

struct CorruptImage {
  std::string name;    // below the image folder
  std::string reason;  // one line
};

std::string corrupt_list_path(const std::string& folder);

// Appends to the list, which need not exist, and syncs it to disk. Bytes that are not UTF-8 are
// replaced. Throws failure naming the file.
void append_to_corrupt_list(const std::string& folder, std::span<const CorruptImage> images);

// The whole lines of the list; 0 where there is none. Throws bad_input for a file that cannot be
// read.
int64_t corrupt_list_length(const std::string& folder);

// Cuts the list back to its first `length` lines, if it has more. Throws as the two above.
void cut_corrupt_list(const std::string& folder, int64_t length);

}  // namespace ditmoe::data
