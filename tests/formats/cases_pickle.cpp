#include "cases.h"
#include "pickle_bytes.h"

// Pickles that are damaged, beyond the limits or for other readers.

namespace ditmoe::formats::test {
namespace {

// Every opcode that takes something from the stack, without it.
std::vector<MalformedCase> starved() {
  std::vector<MalformedCase> cases;
  const auto add = [&](const std::string& name, const std::string& bytes, const char* what) {
    cases.push_back({name, bytes, std::string("byte 0: expected ") + what});
  };
  add("Stop", ".", "a value on the stack, found none");
  add("Pop", "0.", "a value on the stack, found none");
  add("PopMark", "1.", "a mark");
  add("Dup", "2.", "a value on the stack");
  add("Tuple", "t.", "a mark");
  add("Tuple1", "\x85.", "the values of a tuple");
  add("Tuple2", "\x86.", "the values of a tuple");
  add("Tuple3", "\x87.", "the values of a tuple");
  add("List", "l.", "a mark");
  add("Dict", "d.", "a mark");
  add("FrozenSet", "\x91.", "a mark");
  add("Append", "a.", "a value on the stack");
  add("Appends", "e.", "a mark");
  add("AddItems", "\x90.", "a mark");
  add("SetItem", "s.", "a value on the stack");
  add("SetItems", "u.", "a mark");
  add("BinPut", raw("q\0."), "a value on the stack");
  add("LongBinPut", raw("r\0\0\0\0."), "a value on the stack");
  add("Memoize", "\x94.", "a value on the stack");
  add("BinGet", raw("h\0."), "something in the memo under 0");
  add("LongBinGet", raw("j\0\0\0\0."), "something in the memo under 0");
  add("StackGlobal", "\x93.", "a name on the stack");
  add("Reduce", "R.", "a tuple of arguments on the stack");
  add("Build", "b.", "the state of an object on the stack");
  add("NewObj", "\x81.", "a tuple of arguments on the stack");
  add("NewObjEx", "\x92.", "a dict of arguments on the stack");
  add("BinPersid", "Q.", "a reference on the stack");
  return cases;
}

// The same opcodes with what they need below a mark, which they must not reach through.
std::vector<MalformedCase> starved_above_a_mark() {
  std::vector<MalformedCase> cases;
  for (const MalformedCase& starved : starved()) {
    if (starved.message.find("mark") != std::string::npos) continue;
    if (starved.name == "Pop" || starved.message.find("memo") != std::string::npos) continue;
    const std::string what = starved.message.substr(starved.message.find("expected"));
    cases.push_back({starved.name, "NNN(" + starved.file(), "byte 4: " + what});
  }
  return cases;
}

std::vector<MalformedCase> unread_opcodes() {
  std::vector<MalformedCase> cases;
  const auto add = [&](const char* name, const std::string& bytes) {
    cases.push_back({name, bytes, std::string("found opcode ") + name});
  };
  add("STRING", "S'a'\n.");
  add("UNICODE", "Va\n.");
  add("GET", "g0\n.");
  add("PUT", "Np0\n.");
  add("INST", "(ios\nsystem\n.");
  add("OBJ", "(cos\nsystem\no.");
  add("PERSID", "P1\n.");
  add("EXT1", "\x82\x01.");
  add("EXT2", raw("\x83\x01\0."));
  add("EXT4", raw("\x84\x01\0\0\0."));
  add("NEXT_BUFFER", "\x97.");
  add("READONLY_BUFFER", "N\x98.");
  cases.push_back({"Unknown", "\xff.", "byte 0: expected a pickle opcode, found 0xff"});
  cases.push_back({"ZeroByte", raw("\0."), "byte 0: expected a pickle opcode, found 0x00"});
  return cases;
}

std::vector<MalformedCase> framing_cases() {
  return {{"Empty", "", "byte 0: expected 1 more bytes of pickle, found 0"},
          {"NoStop", "K\x01", "byte 2: expected 1 more bytes"},
          {"StopWithTwoValues", "NN.", "byte 2: expected one value at the end, found 1"},
          {"StopWithOpenMark", "N(.", "byte 2: expected a value on the stack"},
          {"StopAboveMark", "(N.", "0 more and 1 open marks"},
          {"Protocol6", "\x80\x06N.", "protocol 5 at most, found 6"},
          {"ProtocolCut", "\x80", "expected 1 more bytes"},
          {"ProtocolTwice", "\x80\x02\x80\x02N.", "byte 2: expected opcode PROTO at the"},
          {"FrameTooLong",
           raw("\x80\x04\x95\xff\xff\xff\xff\xff\xff\xff\xffN."),
           "byte 2: expected a frame of at most 2 bytes, found 18446744073709551615"},
          {"FrameCut", raw("\x80\x04\x95\x01\0"), "expected 8 more bytes"}};
}

std::vector<MalformedCase> operand_cases() {
  return {{"TextOf4GiB",
           "X\xff\xff\xff\xff"
           "a.",
           "4294967295 more bytes of pickle, found 2"},
          {"TextOf1GiBIn12Bytes",
           raw("\x80\x02X\0\0\0\x40"
               "abcd."),
           "expected 1073741824 more bytes of pickle, found 5"},
          {"TextOf2To64",
           "\x8d\xff\xff\xff\xff\xff\xff\xff\xff"
           "a.",
           "expected 18446744073709551615 more bytes"},
          {"BytesOf2To64", "\x8e\xff\xff\xff\xff\xff\xff\xff\xff.", "more bytes"},
          {"ByteArrayOf2To64", "\x96\xff\xff\xff\xff\xff\xff\xff\xff.", "more bytes"},
          {"NegativeStringLength",
           "T\xff\xff\xff\xff"
           "a.",
           "expected 4294967295 more"},
          {"Long1Cut", "\x8a\xff\x01.", "expected 255 more bytes of pickle, found 2"},
          {"Long4Negative", "\x8b\xff\xff\xff\xff\x01.", "expected 4294967295 more bytes"},
          {"FloatCut", "G\x3f.", "expected 8 more bytes"},
          {"IntegerNotANumber", "Ione\n.", "a number of 64 bits, found \"one\""},
          {"IntegerEmpty", "I\n.", "a number of 64 bits, found \"\""},
          {"IntegerTooLong", "I9223372036854775808\n.", "a number of 64 bits"},
          {"LongNotANumber", "L12x\n.", "expected an integer, found \"12x\""},
          {"LongEmpty", "LL\n.", "expected an integer, found \"\""},
          {"FloatNotANumber", "F1,5\n.", "a number of 64 bits, found \"1,5\""},
          {"LineWithoutEnd", "I1", "expected a line of less than 1024 bytes"},
          {"LineTooLong", "I" + std::string(2000, '1') + "\n.", "less than 1024 bytes"}};
}

std::vector<MalformedCase> global_cases() {
  return {{"NoName", "cos\n", "expected a line of less than 1024 bytes"},
          {"EmptyModule", "c\nsystem\n.", "name of a class or function, found \"\" and"},
          {"EmptyName", "cos\n\n.", "found \"os\" and \"\""},
          {"ZeroInName", raw("cos\nsys\0tem\n."), "found \"os\" and \"sys\\x00tem\""},
          {"ReturnInName", "cos\r\nsystem\n.", "found \"os\\r\" and \"system\""},
          {"NameTooLong",
           "cos\n" + std::string(5000, 'a') + "\n.",
           "expected a line of less than 1024 bytes"},
          {"StackGlobalOfNumbers", "K\x01K\x02\x93.", "expected a name, found the integer 2"},
          {"StackGlobalOfBytes", "C\x02osC\x06system\x93.", "expected a name, found 6 bytes"},
          {"StackGlobalWithLineFeed",
           "\x8c\x02os\x8c\x03"
           "a\nb\x93.",
           "found \"os\" and \"a\\nb\""}};
}

std::vector<MalformedCase> type_cases() {
  return {{"ReduceOfANumber", "K\x01)R.", "expected a class or function, found the integer 1"},
          {"ReduceOfAnObject", "cos\nsystem\n)R)R.", "an object made by \"os.system\""},
          {"ReduceWithAList", "cos\nsystem\n]R.", "a tuple of arguments, found a list of 0"},
          {"NewObjOfText", "\x8c\x02os)\x81.", "a class or function, found the text \"os\""},
          {"NewObjExWithoutDict", "ca\nB\n))\x92.", "a dict of arguments, found a tuple"},
          {"BuildOfANumber", "K\x01}b.", "expected an object, found the integer 1"},
          {"BuildOfAList", "]}b.", "expected an object, found a list"},
          {"AppendToADict", "}Na.", "expected a list, found a dict"},
          {"AppendToATuple", ")Na.", "expected a list, found a tuple"},
          {"AppendsToASet", "\x8f(Ne.", "expected a list, found a set"},
          {"AddItemsToAList", "](N\x90.", "expected a set, found a list"},
          {"SetItemOfAList", "]NNs.", "expected a dict, found a list"},
          {"SetItemsOfText",
           "\x8c\x01"
           "a(NNu.",
           "expected a dict, found the text \"a\""},
          {"SetItemsOdd", "}(NNNu.", "keys and values in pairs, found 3"},
          {"DictOdd", "(Nd.", "keys and values in pairs, found 1"},
          {"ListAsKey", "}]Ns.", "expected a key of a dict, found a list of 0"},
          {"DictAsKey", "}}Ns.", "expected a key of a dict, found a dict of 0"},
          {"SetAsKey", "}\x8fNs.", "expected a key of a dict, found a set of 0"}};
}

std::vector<MalformedCase> limit_cases() {
  return {{"MemoUnset", raw("Nq\0h\x01."), "byte 3: expected something in the memo under 1"},
          {"MemoGap", "Nq\x05h\x03.", "expected something in the memo under 3"},
          {"MemoOf2To32", "Nr\xff\xff\xff\xff.", "memo below 1048576, found 4294967295"},
          {"MemoGetOf2To32", "j\xff\xff\xff\xff.", "in the memo under 4294967295"},
          {"OpenMarks",
           [] { return std::string(1'000'000, '('); },
           "byte 64: expected at most 64 open"},
          {"NestedLists",
           [] { return std::string(500'000, ']') + std::string(500'000, 'a') + "."; },
           "expected values nested at most 64 deep"},
          {"NestedTuples",
           [] { return ")" + repeated("\x85", 1'000'000) + "."; },
           "byte 64: expected values nested at most 64 deep"},
          {"NestedPersistent",
           [] { return "N" + std::string(1'000'000, 'Q') + "."; },
           "nested at most 64 deep"},
          {"TooManyOpcodes",
           [] { return "(" + std::string(1 << 20, 'N') + "t."; },
           "byte 1048576: expected at most 1048576 opcodes"},
          {"TooManyOpcodesOfNothing",
           [] { return repeated("N0", 1 << 20) + "N."; },
           "expected at most 1048576 opcodes"},
          {"TooLong",
           [] { return "B" + raw("\x10\0\0\x04") + std::string((64 << 20) + 16, 'a') + "."; },
           "byte 0: expected a pickle of at most 67108864 bytes, found 67108886"}};
}

}  // namespace

std::vector<MalformedCase> pickle_cases() {
  return joined(prefixed("EmptyStack", starved()),
                prefixed("AboveMark", starved_above_a_mark()),
                prefixed("Opcodes", unread_opcodes()),
                prefixed("Files", framing_cases()),
                prefixed("Operands", operand_cases()),
                prefixed("Globals", global_cases()),
                prefixed("Types", type_cases()),
                prefixed("Limits", limit_cases()));
}

}  // namespace ditmoe::formats::test
