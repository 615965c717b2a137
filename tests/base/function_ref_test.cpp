#include "ditmoe/base/function_ref.h"

#include <memory>

#include <gtest/gtest.h>

namespace ditmoe::base {
namespace {

int call(FunctionRef<int(int)> function, int value) { return function(value); }

int twice(int value) { return 2 * value; }

struct Counter {
  int operator()(int value) { return count += value; }

  int count = 0;
};

TEST(FunctionRefTest, CallsLambdasAndFunctionPointers) {
  const int offset = 5;
  EXPECT_EQ(call([offset](int value) { return value + offset; }, 3), 8);
  EXPECT_EQ(call(&twice, 4), 8);
}

TEST(FunctionRefTest, RefersToTheCallableAndDoesNotCopyIt) {
  Counter counter;
  const FunctionRef<int(int)> function = counter;
  EXPECT_EQ(function(3), 3);
  const FunctionRef<int(int)> copy = function;
  EXPECT_EQ(copy(4), 7);
  EXPECT_EQ(counter.count, 7);
}

TEST(FunctionRefTest, PassesReferencesAndWhatCanOnlyMove) {
  int value = 1;
  const auto add = [](int& to) { ++to; };
  const FunctionRef<void(int&)> function = add;
  function(value);
  EXPECT_EQ(value, 2);
  const auto open = [](std::unique_ptr<int> box) { return *box; };
  const FunctionRef<int(std::unique_ptr<int>)> unboxed = open;
  EXPECT_EQ(unboxed(std::make_unique<int>(9)), 9);
}

}  // namespace
}  // namespace ditmoe::base
