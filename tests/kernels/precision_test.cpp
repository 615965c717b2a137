#include "ditmoe/kernels/precision.h"

#include <string>

#include <gtest/gtest.h>

#include "ditmoe/base/error.h"

namespace ditmoe::kernels {
namespace {

TEST(PrecisionTest, WordsAreInverse) {
  EXPECT_EQ(to_word(Precision::kF32), "f32");
  EXPECT_EQ(to_word(Precision::kBf16), "bf16");
  EXPECT_EQ(to_word(Precision::kInt8), "int8");
  for (const Precision precision : {Precision::kF32, Precision::kBf16, Precision::kInt8}) {
    EXPECT_EQ(precision_from(to_word(precision), "--dtype"), precision);
  }
}

TEST(PrecisionTest, AnyOtherWordIsRefusedByTheNameOfItsPlace) {
  for (const std::string word : {"", "F32", "f16", "int", "int8 ", "float"}) {
    try {
      precision_from(word, "--dtype");
      ADD_FAILURE() << "'" << word << "' was accepted";
    } catch (const base::Error& error) {
      EXPECT_EQ(error.kind(), base::ErrorKind::kBadInput);
      EXPECT_EQ(error.what(), "--dtype: expected f32, bf16 or int8, found '" + word + "'");
    }
  }
}

}  // namespace
}  // namespace ditmoe::kernels
