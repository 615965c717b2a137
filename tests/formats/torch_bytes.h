#pragma once

#include <numeric>
#include <string>
#include <vector>

#include "pickle_bytes.h"
#include "zip_bytes.h"

// Files of torch.save, made by hand and able to lie.

namespace ditmoe::formats::test {

inline std::string ordered_dict() { return pickled_global("collections", "OrderedDict") + ")R"; }

inline std::string pickled_tuple(const std::vector<int64_t>& numbers) {
  std::string out = "(";
  for (const int64_t number : numbers) out += pickled_integer(number);
  return out + "t";
}

// Floats 0, 1, 2 ... as bytes.
inline std::string counted_floats(size_t count) {
  std::vector<float> values(count);
  std::iota(values.begin(), values.end(), 0.0F);
  return {reinterpret_cast<const char*>(values.data()), count * sizeof(float)};
}

// A tensor of float32; every part of its pickle can be replaced.
struct PickledTensor {
  std::vector<int64_t> size = {2};
  std::vector<int64_t> stride = {1};
  int64_t offset = 0;
  int64_t elements = 2;  // of the storage
  std::string type = "FloatStorage";
  std::string key = "0";
  std::string storage;            // opcodes, replace type, key and elements
  std::string sizes;              // opcodes, replace size
  std::string function;           // opcodes, replace _rebuild_tensor_v2
  std::string offsets;            // opcodes, replace offset
  std::string strides;            // opcodes, replace stride
  std::string gradient = "\x89";  // whether one is wanted
  std::string hooks = ordered_dict();
  std::string rest;  // further arguments

  std::string opcodes() const {
    const std::string plain_storage = "(" + pickled_text("storage") +
                                      pickled_global("torch", type) + pickled_text(key) +
                                      pickled_text("cpu") + pickled_integer(elements) + "tQ";
    return (function.empty() ? pickled_global("torch._utils", "_rebuild_tensor_v2") : function) +
           "(" + (storage.empty() ? plain_storage : storage) +
           (offsets.empty() ? pickled_integer(offset) : offsets) +
           (sizes.empty() ? pickled_tuple(size) : sizes) +
           (strides.empty() ? pickled_tuple(stride) : strides) + gradient + hooks + rest + "tR";
  }
};

// A dict of these opcodes by name.
inline std::string pickled_dict(const std::vector<std::pair<std::string, std::string>>& values) {
  std::string out = "}(";
  for (const auto& [name, opcodes] : values) out += pickled_text(name) + opcodes;
  return out + "u";
}

inline std::string pickled_parameter(const std::string& tensor) {
  return pickled_global("torch._utils", "_rebuild_parameter") + "(" + tensor + "\x88" +
         ordered_dict() + "tR";
}

// Records of the archive "a": the pickle of these opcodes, storage "0", byteorder and version.
inline std::vector<ZipPart> torch_parts(const std::string& opcodes, const std::string& storage) {
  return {{"a/data.pkl", raw("\x80\x02") + opcodes + "."},
          {"a/byteorder", "little"},
          {"a/data/0", storage},
          {"a/version", "3\n"}};
}

inline std::string torch_file_of(const std::string& opcodes, const std::string& storage) {
  return zip_of(torch_parts(opcodes, storage));
}

// A file as before version 1.6, of a bare state dict with a tensor "w" of float32 in storage "0";
// every part can be replaced.
struct LegacyFile {
  std::string protocol = raw("M\xe9\x03");
  std::string machine = pickled_dict({{"little_endian", "\x88"}});
  std::string view = "N";  // of the storage
  std::string checkpoint;  // opcodes, replace the state dict
  std::string keys = "]" + pickled_text("0") + "a";
  uint64_t elements = 2;
  std::string storage = counted_floats(2);

  // What a tensor in this file says of its storage.
  std::string tensor_storage() const {
    return "(" + pickled_text("storage") + pickled_global("torch", "FloatStorage") +
           pickled_text("0") + pickled_text("cpu") + "K\x02" + view + "tQ";
  }

  std::string bytes() const {
    const auto pickle = [](const std::string& opcodes) { return raw("\x80\x02") + opcodes + "."; };
    const PickledTensor tensor = {.storage = tensor_storage()};
    std::string out = pickle(raw("\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19"));
    out += pickle(protocol) + pickle(machine);
    out += pickle(checkpoint.empty() ? pickled_dict({{"w", tensor.opcodes()}}) : checkpoint);
    out += pickle(keys);
    append_little(out, elements);
    return out + storage;
  }
};

}  // namespace ditmoe::formats::test
