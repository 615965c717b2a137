#include "ditmoe/metrics/classification.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include <fmt/format.h>

#include "ditmoe/base/error.h"

namespace ditmoe::metrics {
namespace {

std::span<const int64_t> row_of(const Classification& classification, int64_t wanted) {
  const auto width = static_cast<size_t>(classification.num_classes);
  return std::span(classification.confusion).subspan(static_cast<size_t>(wanted) * width, width);
}

std::string name_of(int64_t label, const std::vector<std::string>& class_names) {
  const auto index = static_cast<size_t>(label);
  return index < class_names.size() ? class_names[index] : fmt::format("class {}", label);
}

double share(int64_t part, int64_t whole) {
  return whole == 0 ? 0.0 : static_cast<double>(part) / static_cast<double>(whole);
}

// "Shirt 7.1%", or "-" where nothing is mistaken.
std::string worst_mistake(const Classification& classification,
                          int64_t wanted,
                          const std::vector<std::string>& class_names) {
  const auto row = row_of(classification, wanted);
  int64_t worst = -1;
  for (int64_t label = 0; label < classification.num_classes; ++label) {
    if (label == wanted || row[static_cast<size_t>(label)] == 0) continue;
    if (worst < 0 || row[static_cast<size_t>(label)] > row[static_cast<size_t>(worst)]) {
      worst = label;
    }
  }
  if (worst < 0) return "-";
  const int64_t mistaken = row[static_cast<size_t>(worst)];
  return fmt::format("{} {:.1f}%",
                     name_of(worst, class_names),
                     100.0 * share(mistaken, classification.count(wanted)));
}

}  // namespace

int64_t Classification::count(int64_t wanted) const {
  const auto row = row_of(*this, wanted);
  return std::accumulate(row.begin(), row.end(), int64_t{0});
}

int64_t Classification::correct(int64_t wanted) const {
  return row_of(*this, wanted)[static_cast<size_t>(wanted)];
}

int64_t Classification::total() const {
  return std::accumulate(confusion.begin(), confusion.end(), int64_t{0});
}

int64_t Classification::correct() const {
  int64_t sum = 0;
  for (int64_t label = 0; label < num_classes; ++label) sum += correct(label);
  return sum;
}

double Classification::accuracy() const { return share(correct(), total()); }

Classification classify(std::span<const float> logits,
                        std::span<const int32_t> wanted,
                        int64_t num_classes) {
  const auto width = static_cast<size_t>(num_classes);
  if (num_classes < 1 || logits.size() != wanted.size() * width) {
    base::bad_input("classification: expected {} x {} logits, found {}",
                    wanted.size(),
                    num_classes,
                    logits.size());
  }
  Classification result{num_classes, std::vector<int64_t>(width * width)};
  for (size_t row = 0; row < wanted.size(); ++row) {
    if (wanted[row] < 0 || wanted[row] >= num_classes) {
      base::bad_input("classification: row {}: expected a label from 0 to {}, found {}",
                      row,
                      num_classes - 1,
                      wanted[row]);
    }
    const auto scores = logits.subspan(row * width, width);
    if (std::any_of(scores.begin(), scores.end(), [](float value) { return std::isnan(value); })) {
      base::bad_input("classification: row {}: expected logits, found NaN", row);
    }
    const auto recognised =
        static_cast<size_t>(std::max_element(scores.begin(), scores.end()) - scores.begin());
    ++result.confusion[static_cast<size_t>(wanted[row]) * width + recognised];
  }
  return result;
}

std::string format_table(const Classification& classification,
                         const std::vector<std::string>& class_names) {
  size_t name_width = 3;  // "all"
  for (const std::string& name : class_names) name_width = std::max(name_width, name.size());
  std::string table = fmt::format(
      "{:<{}}  {:>7}  {:>10}  mistaken most for\n", "class", name_width, "images", "recognised");
  for (int64_t label = 0; label < classification.num_classes; ++label) {
    const int64_t count = classification.count(label);
    if (count == 0) continue;
    table += fmt::format("{:<{}}  {:>7}  {:>9.1f}%  {}\n",
                         name_of(label, class_names),
                         name_width,
                         count,
                         100.0 * share(classification.correct(label), count),
                         worst_mistake(classification, label, class_names));
  }
  return table + fmt::format("{:<{}}  {:>7}  {:>9.1f}%\n",
                             "all",
                             name_width,
                             classification.total(),
                             100.0 * classification.accuracy());
}

}  // namespace ditmoe::metrics
