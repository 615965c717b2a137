#pragma once

#include <cstdint>
#include <fstream>
#include <string>
#include <utility>
#include <vector>

#include <zlib.h>

#include "ditmoe/formats/bytes.h"

#include "deflate_bytes.h"

namespace ditmoe::formats::test {

// One entry of an archive under construction. Header fields can be made to lie.
struct ZipPart {
  std::string name;
  std::string content;
  bool deflated = false;
  uint16_t flags = 0;
  uint16_t method = 0;  // set by deflated where 0
  int64_t claimed_bytes = -1;
  uint32_t crc_error = 0;
  std::string local_name;  // name where empty
  bool zip64 = false;      // the local header has its sizes in a zip64 field, as NumPy writes it
};

inline std::string deflate_raw(const std::string& content) {
  return deflated_bytes(content, -MAX_WBITS);
}

// The fields of a header from the flags to the length of the extra field.
inline std::string zip_fields(const ZipPart& part, size_t stored, const std::string& name) {
  const std::string& content = part.content;
  const uint16_t method = part.method == 0 && part.deflated ? uint16_t{8} : part.method;
  const auto crc = static_cast<uint32_t>(
      crc32(0, reinterpret_cast<const Bytef*>(content.data()), static_cast<uInt>(content.size())));
  std::string out;
  append_little(out, part.flags);
  append_little(out, method);
  append_little(out, uint32_t{0});
  append_little(out, crc ^ part.crc_error);
  append_little(out, static_cast<uint32_t>(stored));
  append_little(out,
                part.claimed_bytes >= 0 ? static_cast<uint32_t>(part.claimed_bytes)
                                        : static_cast<uint32_t>(content.size()));
  append_little(out, static_cast<uint16_t>(name.size()));
  append_little(out, uint16_t{0});
  return out;
}

// A local header, from its flags on, with both sizes moved to a zip64 field.
inline std::string with_zip64_sizes(std::string local, size_t stored, size_t bytes) {
  constexpr size_t kSizes = 12;  // from the flags
  constexpr size_t kExtraBytes = 22;
  local.replace(kSizes, 8, 8, '\xff');
  local[kExtraBytes] = 20;
  append_little(local, uint32_t{0x00100001});
  append_little(local, uint64_t{bytes});
  append_little(local, uint64_t{stored});
  return local;
}

// A small zip archive, written field by field.
inline std::string zip_of(const std::vector<ZipPart>& parts) {
  std::string file;
  std::string directory;
  for (const ZipPart& part : parts) {
    const std::string stored = part.deflated ? deflate_raw(part.content) : part.content;
    const std::string& local_name = part.local_name.empty() ? part.name : part.local_name;
    append_little(directory, uint32_t{0x02014B50});
    append_little(directory, uint32_t{0x00140014});
    directory += zip_fields(part, stored.size(), part.name) + std::string(10, '\0');
    append_little(directory, static_cast<uint32_t>(file.size()));
    directory += part.name;
    append_little(file, uint32_t{0x04034B50});
    append_little(file, uint16_t{20});
    std::string local = zip_fields(part, stored.size(), local_name) + local_name;
    if (part.zip64) local = with_zip64_sizes(std::move(local), stored.size(), part.content.size());
    file += local + stored;
  }
  std::string end;
  append_little(end, uint32_t{0x06054B50});
  append_little(end, uint32_t{0});
  append_little(end, static_cast<uint16_t>(parts.size()));
  append_little(end, static_cast<uint16_t>(parts.size()));
  append_little(end, static_cast<uint32_t>(directory.size()));
  append_little(end, static_cast<uint32_t>(file.size()));
  append_little(end, uint16_t{0});
  return file + directory + end;
}

// The archive with a zip64 end, which repeats in 64 bits what its end says, plus the given errors.
struct Zip64Errors {
  uint64_t entries = 0;       // in all, but not in this part
  uint64_t more_entries = 0;  // what 16 bits could not say
  uint64_t bytes = 0;
  uint64_t offset = 0;
  uint64_t end_offset = 0;
  uint32_t part = 0;
};

inline std::string with_zip64_end(const std::string& zip, const Zip64Errors& errors = {}) {
  constexpr size_t kEndBytes = 22;
  const std::string end = zip.substr(zip.size() - kEndBytes);
  const auto* fields = reinterpret_cast<const std::byte*>(end.data());
  const uint64_t entries = load_little<uint16_t>(fields + 10) + errors.more_entries;
  std::string out = zip.substr(0, zip.size() - kEndBytes);
  const uint64_t end_offset = out.size();
  append_little(out, uint32_t{0x06064B50});
  append_little(out, uint64_t{44});
  append_little(out, uint32_t{0x002D002D});
  append_little(out, errors.part);
  append_little(out, uint32_t{0});
  append_little(out, entries);
  append_little(out, entries + errors.entries);
  append_little(out, uint64_t{load_little<uint32_t>(fields + 12)} + errors.bytes);
  append_little(out, uint64_t{load_little<uint32_t>(fields + 16)} + errors.offset);
  append_little(out, uint32_t{0x07064B50});
  append_little(out, uint32_t{0});
  append_little(out, end_offset + errors.end_offset);
  append_little(out, uint32_t{1});
  if (errors.more_entries == 0) return out + end;
  // What 16 bits cannot say is left to the zip64 end.
  return out + end.substr(0, 8) + std::string(4, '\xff') + end.substr(12);
}

// Writes an archive of two stored entries as PyTorch does beyond 4 GiB: the first of `large` bytes,
// zero but for its end, which takes no room on the disk; sizes and the second's offset in zip64
// fields of the directory; a checksum of the second alone. Returns path.
inline std::string write_large_zip(const std::string& path,
                                   const std::string& large_name,
                                   uint64_t large,
                                   const std::string& large_end,
                                   const std::string& name,
                                   const std::string& content) {
  const auto local = [](const std::string& entry) {
    std::string header;
    append_little(header, uint32_t{0x04034B50});
    append_little(header, uint16_t{0});
    append_little(header, uint16_t{0x0808});  // sizes follow, name in UTF-8
    header += std::string(18, '\0');
    append_little(header, static_cast<uint16_t>(entry.size()));
    append_little(header, uint16_t{0});
    return header + entry;
  };
  const uint64_t second = local(large_name).size() + large;
  const auto central = [](const std::string& entry, uint32_t crc, uint64_t bytes, uint64_t offset) {
    std::string header;
    append_little(header, uint32_t{0x02014B50});
    append_little(header, uint32_t{0});
    append_little(header, uint16_t{0x0808});
    header += std::string(6, '\0');
    append_little(header, crc);
    header += std::string(8, '\xff');
    append_little(header, static_cast<uint16_t>(entry.size()));
    append_little(header, uint16_t{28});
    header += std::string(10, '\0');
    header += std::string(4, '\xff') + entry;
    append_little(header, uint16_t{1});
    append_little(header, uint16_t{24});
    append_little(header, bytes);
    append_little(header, bytes);
    append_little(header, offset);
    return header;
  };
  const auto crc = static_cast<uint32_t>(
      crc32(0, reinterpret_cast<const Bytef*>(content.data()), static_cast<uInt>(content.size())));
  const std::string directory =
      central(large_name, 0, large, 0) + central(name, crc, content.size(), second);
  const uint64_t begin = second + local(name).size() + content.size();
  std::string end;
  append_little(end, uint32_t{0x06064B50});
  append_little(end, uint64_t{44});
  end += std::string(12, '\0');
  append_little(end, uint64_t{2});
  append_little(end, uint64_t{2});
  append_little(end, uint64_t{directory.size()});
  append_little(end, begin);
  append_little(end, uint32_t{0x07064B50});
  append_little(end, uint32_t{0});
  append_little(end, begin + directory.size());
  append_little(end, uint32_t{1});
  append_little(end, uint32_t{0x06054B50});
  append_little(end, uint32_t{0});
  end += std::string(12, '\xff');
  append_little(end, uint16_t{0});
  std::ofstream file(path, std::ios::binary);
  file << local(large_name);
  file.seekp(static_cast<std::streamoff>(second - large_end.size()));
  file << large_end << local(name) << content << directory << end;
  return path;
}

}  // namespace ditmoe::formats::test
