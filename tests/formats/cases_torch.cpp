#include <cctype>

#include "cases.h"
#include "torch_bytes.h"

// Checkpoints whose archive is sound and whose tensors are not.

namespace ditmoe::formats::test {
namespace {

// A state dict whose only tensor is changed; the message may begin with the byte of the fault.
MalformedCase tensor_case(const std::string& name,
                          const PickledTensor& tensor,
                          const std::string& message) {
  return {name,
          torch_file_of(pickled_dict({{"w", tensor.opcodes()}}), counted_floats(2)),
          (std::isdigit(message[0]) != 0 ? "tensor \"w\": data.pkl byte " : "") + message};
}

// A state dict of these opcodes.
MalformedCase opcodes_case(const std::string& name,
                           const std::string& opcodes,
                           const std::string& message) {
  return {name, torch_file_of(opcodes, counted_floats(2)), message};
}

// A state dict that holds one tensor under many names.
std::string same_tensors(int count) {
  std::string opcodes = PickledTensor{}.opcodes() + "q\x01" + "0}(";
  for (int i = 0; i < count; ++i) opcodes += pickled_text(std::to_string(i)) + "h\x01";
  return opcodes + "u";
}

std::string storage_tuple(const std::string& elements) { return "(" + elements + "tQ"; }

std::vector<MalformedCase> shape_cases() {
  return {
      tensor_case("SizeNegative", {.size = {-2}}, "104: expected a size of 0 or more, found -2"),
      tensor_case(
          "SizeBeyondStorage",
          {.size = {3}},
          "98: expected elements within a storage of 2, found offset 0, size [3], strides [1]"),
      tensor_case("SizeHuge", {.size = {INT64_MAX}}, "98: expected less than 2^63 bytes"),
      tensor_case("SizesOverflow",
                  {.size = {int64_t{1} << 32, int64_t{1} << 32}, .stride = {1, 1}},
                  "98: expected less than 2^63 bytes"),
      tensor_case("SizesOverflowWithNone",
                  {.size = {int64_t{1} << 62, int64_t{1} << 62, 0}, .stride = {1, 1, 1}},
                  "98: expected less than 2^63 bytes"),
      tensor_case(
          "StrideNegative", {.stride = {-1}}, "111: expected a stride of 0 or more, found -1"),
      tensor_case(
          "StrideBeyondStorage", {.stride = {2}}, "98: expected elements within a storage of 2"),
      tensor_case(
          "StrideHuge", {.stride = {INT64_MAX}}, "98: expected elements within a storage of 2"),
      tensor_case("StrideTimesSizeOverflows",
                  {.size = {3, 1, 2}, .stride = {INT64_MAX, 0, 0}},
                  "98: expected elements within"),
      tensor_case("StridesOverflowTogether",
                  {.size = {2, 2, 2}, .stride = {INT64_MAX, INT64_MAX, 2}},
                  "98: expected elements within"),
      tensor_case("FewerStrides", {.size = {1, 2}}, "expected 2 strides, found 1"),
      tensor_case(
          "OffsetNegative", {.offset = -1}, "98: expected an offset of 0 or more, found -1"),
      tensor_case("OffsetBeyondStorage",
                  {.offset = 1},
                  "98: expected elements within a storage of 2, found offset 1"),
      tensor_case("OffsetHuge", {.offset = INT64_MAX}, "98: expected elements within"),
      tensor_case(
          "OffsetHugeWithoutElements", {.size = {0}, .offset = 3}, "expected elements within"),
      tensor_case("NineDimensions",
                  {.size = {1, 1, 1, 1, 1, 1, 1, 1, 1}, .stride = {1, 1, 1, 1, 1, 1, 1, 1, 1}},
                  "expected at most 8 dimensions, found 9"),
      tensor_case("SizeOfText",
                  {.sizes = pickled_text("2")},
                  "expected a tuple of integers, found the text \"2\""),
      tensor_case("SizeOfFloats", {.sizes = "(F2.0\nt"}, "expected a size, found the number 2"),
      tensor_case("SizeOfNineBytes",
                  {.sizes = raw("(\x8a\x09\0\0\0\0\0\0\0\0\x01t")},
                  "expected a size, found an integer of 9 bytes"),
      tensor_case("SizeOfTruth", {.sizes = "(\x88t"}, "expected a size, found True"),
      tensor_case("SizeMadeByOthers",
                  {.sizes = pickled_global("os", "system") + "(K\x02t\x85R"},
                  "expected a tuple of integers, found an object made by \"os.system\"")};
}

std::vector<MalformedCase> storage_cases() {
  return {
      tensor_case("ElementsAboveRecord",
                  {.elements = 3},
                  "77: expected a storage of 3 elements F32, found 8 bytes"),
      tensor_case("ElementsBelowRecord",
                  {.elements = 1},
                  "77: expected a storage of 1 elements F32, found 8 bytes"),
      tensor_case("ElementsNegative",
                  {.elements = -2},
                  "expected a number of elements of 0 or more, found -2"),
      tensor_case("ElementsOverflow",
                  {.elements = (int64_t{1} << 62) + 2},
                  "expected a storage of 4611686018427387906 elements"),
      tensor_case("TypeOfOtherWidth",
                  {.type = "HalfStorage"},
                  "expected a storage of 2 elements F16, found 8 bytes"),
      tensor_case("TypeComplex",
                  {.type = "ComplexFloatStorage"},
                  "i8, u8 or bool, found \"torch.ComplexFloatStorage\""),
      tensor_case("TypeUntyped", {.type = "UntypedStorage"}, "found \"torch.UntypedStorage\""),
      tensor_case(
          "TypeFromElsewhere",
          {.storage = storage_tuple(pickled_text("storage") + pickled_global("os", "system") +
                                    pickled_text("0") + pickled_text("cpu") + "K\x02")},
          "i8, u8 or bool, found \"os.system\""),
      tensor_case(
          "TypeMade",
          {.storage = storage_tuple(pickled_text("storage") + pickled_global("os", "system") +
                                    ")R" + pickled_text("0") + pickled_text("cpu") + "K\x02")},
          "expected the class of a storage, found an object made by \"os.system\""),
      tensor_case("KeyWithFolders",
                  {.key = "../../etc/passwd"},
                  "expected a storage \"../../etc/passwd\", found none"),
      tensor_case(
          "KeyUnknown", {.key = "1"}, "77: expected a storage \"1\", found none in the file"),
      tensor_case("KeyOfThePickle",
                  {.key = "../data.pkl"},
                  "expected a storage \"../data.pkl\", found none"),
      tensor_case("KeyANumber",
                  {.storage = storage_tuple(pickled_text("storage") +
                                            pickled_global("torch", "FloatStorage") + "K\x07" +
                                            pickled_text("cpu") + "K\x02")},
                  "expected the name of a storage, found the integer 7"),
      tensor_case("OtherWord",
                  {.storage = storage_tuple(pickled_text("module") +
                                            pickled_global("torch", "FloatStorage") +
                                            pickled_text("0") + pickled_text("cpu") + "K\x02")},
                  "expected the word storage, found \"module\""),
      tensor_case("FourParts",
                  {.storage = storage_tuple(pickled_text("storage") + "NNN")},
                  "expected a storage of 5 or 6 parts, found 4"),
      tensor_case("ReferenceANumber",
                  {.storage = "K\x01Q"},
                  "expected a tuple that names a storage, found the integer 1"),
      tensor_case("NoReference", {.storage = "K\x01"}, "expected a storage, found the integer 1")};
}

std::vector<MalformedCase> function_cases() {
  return {
      tensor_case("VersionThree",
                  {.function = pickled_global("torch._utils", "_rebuild_tensor_v3")},
                  "expected one made by torch._utils._rebuild_tensor_v2, found one by "
                  "\"torch._utils._rebuild_tensor_v3\""),
      tensor_case("Sparse",
                  {.function = pickled_global("torch._utils", "_rebuild_sparse_tensor")},
                  "found one by \"torch._utils._rebuild_sparse_tensor\""),
      tensor_case("Subclass",
                  {.function = pickled_global("torch._tensor", "_rebuild_from_type_v2")},
                  "found one by \"torch._tensor._rebuild_from_type_v2\""),
      tensor_case("HooksMade",
                  {.hooks = pickled_global("os", "system") + pickled_text("true") + "\x85R"},
                  "expected a dict of hooks, found an object made by \"os.system\""),
      tensor_case("Hooks", {.hooks = "}K\x01K\x02s"}, "expected no hooks, found 1"),
      tensor_case("EightArguments",
                  {.rest = "}}"},
                  "expected 6 to 7 arguments of torch._utils._rebuild_tensor_v2, found 8"),
      tensor_case("Negated", {.rest = "}" + pickled_text("neg") + "\x88s"}, "found 1 to apply"),
      tensor_case("AttributesMade",
                  {.rest = pickled_global("os", "system") + ")R"},
                  "expected a dict of attributes, found an object"),
      opcodes_case(
          "NoArguments",
          pickled_dict({{"w", pickled_global("torch._utils", "_rebuild_tensor_v2") + ")R"}}),
          "expected 6 to 7 arguments"),
      opcodes_case("ItemsOnATensor",
                   pickled_dict({{"w", PickledTensor{}.opcodes() + "K\x01K\x02s"}}),
                   "found one with attributes or items"),
      opcodes_case("StateOnATensor",
                   pickled_dict({{"w", PickledTensor{}.opcodes() + "}b"}}),
                   "found one with attributes or items"),
      opcodes_case(
          "ParameterOfAParameter",
          pickled_dict({{"w", pickled_parameter(pickled_parameter(PickledTensor{}.opcodes()))}}),
          "expected one made by torch._utils._rebuild_tensor_v2"),
      opcodes_case("ParameterOfANumber",
                   pickled_dict({{"w", pickled_parameter("K\x01")}}),
                   "expected a tensor, found the integer 1"),
      opcodes_case("ParameterOfAnObject",
                   pickled_dict({{"w", pickled_parameter(pickled_global("os", "system") + ")R")}}),
                   "found one by \"os.system\""),
      opcodes_case(
          "ParameterArguments",
          pickled_dict({{"w", pickled_global("torch._utils", "_rebuild_parameter") + ")R"}}),
          "expected 3 to 4 arguments")};
}

std::vector<MalformedCase> checkpoint_cases() {
  return {
      opcodes_case("SingleTensor", PickledTensor{}.opcodes(), "found a single tensor"),
      opcodes_case("List", "]", "found a list of 0"),
      opcodes_case("Number", "K\x05", "found the integer 5"),
      opcodes_case("Empty", "}", "found an empty dict"),
      opcodes_case("WholeModule",
                   pickled_global("models", "DiT") + ")\x81}b",
                   "found a whole object made by \"models.DiT\"; save its state_dict()"),
      opcodes_case("NoTensors",
                   pickled_dict({{"a", "K\x01"}, {"b", "N"}}),
                   "found a dict with \"a\", \"b\""),
      opcodes_case(
          "ManyKeys",
          pickled_dict(
              {{"a", "N"}, {"b", "N"}, {"c", "N"}, {"d", "N"}, {"e", "N"}, {"f", "N"}, {"g", "N"}}),
          "\"f\" and 1 more"),
      opcodes_case("NumbersAsNames",
                   "}K\x01" + PickledTensor{}.opcodes() + "s",
                   "expected the name of a tensor in UTF-8, found the integer 1"),
      opcodes_case("NameNotUtf8",
                   "}" + pickled_text("\xff") + PickledTensor{}.opcodes() + "s",
                   "expected the name of a tensor in UTF-8"),
      opcodes_case(
          "NameTwice",
          pickled_dict({{"w", PickledTensor{}.opcodes()}, {"w", PickledTensor{}.opcodes()}}),
          "expected distinct names, found \"w\" twice"),
      opcodes_case("DictInItself",
                   "}q\x01" + pickled_text("model") + "h\x01s",
                   "found a dict with \"model\""),
      opcodes_case(
          "TooManyTensors", same_tensors((1 << 16) + 1), "expected at most 65536 tensors")};
}

// Arguments of other types than torch.save gives them.
std::vector<MalformedCase> argument_cases() {
  return {
      tensor_case("OffsetText", {.offsets = pickled_text("0")}, "an offset, found the text \"0\""),
      tensor_case("OffsetTruth", {.offsets = "\x89"}, "expected an offset, found False"),
      tensor_case("OffsetOfNineBytes",
                  {.offsets = raw("\x8a\x09\0\0\0\0\0\0\0\0\x01")},
                  "expected an offset, found an integer of 9 bytes"),
      tensor_case("SizeAList",
                  {.sizes = "]K\x02"
                            "a"},
                  "tuple of integers, found a list of 1"),
      tensor_case(
          "StridesText", {.strides = pickled_text("1")}, "tuple of integers, found the text"),
      tensor_case("StridesNone", {.strides = "N"}, "expected a tuple of integers, found None"),
      tensor_case("StrideOfText",
                  {.strides = "(" + pickled_text("1") + "t"},
                  "expected a stride, found the text \"1\""),
      tensor_case(
          "GradientNone", {.gradient = "N"}, "expected whether a gradient is wanted, found None"),
      tensor_case("HooksAList", {.hooks = "]"}, "expected a dict of hooks, found a list of 0"),
      tensor_case("FiveArguments",
                  {.hooks = ""},
                  "expected 6 to 7 arguments of torch._utils._rebuild_tensor_v2, found 5"),
  };
}

// Functions that make no tensors, in the place of the one that does.
std::vector<MalformedCase> foreign_cases() {
  const auto by = [](const char* name, const char* module, const char* function) {
    return tensor_case(
        name, {.function = pickled_global(module, function)}, "expected weights by name");
  };
  return {by("Eval", "builtins", "eval"),
          by("EvalOfPython2", "__builtin__", "eval"),
          by("System", "os", "system"),
          by("TorchLoad", "torch", "load"),
          by("OtherModule", "torch.utils", "_rebuild_tensor_v2")};
}

}  // namespace

std::vector<MalformedCase> torch_tensor_cases() {
  return joined(prefixed("Shapes", shape_cases()),
                prefixed("Storages", storage_cases()),
                prefixed("Functions", function_cases()),
                prefixed("Arguments", argument_cases()),
                prefixed("Foreign", foreign_cases()),
                prefixed("Checkpoints", checkpoint_cases()));
}

}  // namespace ditmoe::formats::test
