// What the fuzzers start from: the malformed files of the tests, and whole ones.
//
// usage: fuzz_seeds FOLDER     writes FOLDER/<target>/<name>

#include <array>
#include <cstdio>
#include <filesystem>
#include <fstream>

#include "ditmoe/formats/npz.h"
#include "ditmoe/formats/png.h"
#include "ditmoe/formats/safetensors.h"
#include "ditmoe/formats/tfrecord.h"

#include "cases.h"
#include "idx_bytes.h"
#include "npy_bytes.h"
#include "png_bytes.h"
#include "tests/support/jpeg.h"
#include "torch_bytes.h"
#include "zip_bytes.h"

namespace {

namespace fs = std::filesystem;
namespace test = ditmoe::formats::test;
using ditmoe::base::DType;
using ditmoe::base::Tensor;

// Fuzzers spend their time on small inputs; the large ones are for the tests.
constexpr size_t kMaxBytes = size_t{1} << 16;

class Seeds {
 public:
  explicit Seeds(fs::path folder) : folder_(std::move(folder)) {}

  // A path for a seed that somebody else writes.
  std::string path(const std::string& target, const std::string& name) const {
    fs::create_directories(folder_ / target);
    return (folder_ / target / name).string();
  }

  void put(const std::string& target, const std::string& name, const std::string& content) const {
    if (content.size() > kMaxBytes) return;
    std::ofstream(path(target, name), std::ios::binary) << content;
  }

  void put(const std::string& target, const std::vector<test::MalformedCase>& cases) const {
    for (const test::MalformedCase& malformed : cases) {
      put(target, malformed.name, malformed.file());
    }
  }

 private:
  fs::path folder_;
};

void write_arrays(const Seeds& seeds) {
  const Tensor matrix = Tensor::from({2, 2}, std::array{1.0F, 2.0F, 3.0F, 4.0F});
  const Tensor half(DType::kBF16, {3});
  const Tensor empty(DType::kI64, {0, 5});
  ditmoe::formats::write_safetensors(
      seeds.path("safetensors", "whole"),
      {{"a", matrix.view()}, {"b", half.view()}, {"c", empty.view()}},
      {{"ditmoe.config", R"({"width":4})"}});
  ditmoe::formats::write_npz(seeds.path("npz", "whole"),
                             {{"a", matrix.view()}, {"b", empty.view()}});
  const std::string bytes = test::npy(test::dict("'|u1'", "False", "(4,)"), 4);
  const std::string later = test::npy(test::dict("'<i8'", "False", "(2, 1)"), 16, 2);
  const std::string deflated = test::zip_of(
      {{.name = "a.npy", .content = bytes, .deflated = true}, {.name = "b.npy", .content = later}});
  seeds.put("npz", "deflated", deflated);
  seeds.put("npz", "zip64", test::with_zip64_end(deflated));
  seeds.put("npz", "zip64_sizes", test::zip_of({{.name = "a", .content = bytes, .zip64 = true}}));
  for (const char way : {'\0', '\1', '\2'}) {
    seeds.put("npy", "bytes_" + std::to_string(way), way + bytes);
    seeds.put("npy", "later_" + std::to_string(way), way + later);
  }
  seeds.put("idx", "whole", test::idx_header(8, {2, 3}) + "abcdef");
  seeds.put("idx", "gzip", test::gzip(test::idx_header(8, {2, 3}) + "abcdef"));
}

void write_images(const Seeds& seeds) {
  for (const int64_t channels : {1, 3, 4}) {
    ditmoe::formats::Image image{3, 2, channels, {}, {{"ditmoe", R"({"version":1})"}, {"b", "c"}}};
    image.pixels_HWC.resize(static_cast<size_t>(6 * channels));
    image.text[1].second = "\u5c65";
    ditmoe::formats::write_png(seeds.path("png", "whole_" + std::to_string(channels)), image);
  }
  const std::string palette = test::chunk("PLTE", "abcdef") + test::chunk("tRNS", "x");
  const std::string row = test::bytes_from({0, 0x40});
  seeds.put("png", "palette", test::png(test::png_header(2, 1, 1, 3) + palette, row));
  const std::string woven = test::bytes_from({0, 10, 0, 20, 0, 30, 40});
  seeds.put("png", "interlaced", test::png(test::png_header(2, 2, 8, 0, 1), woven));
  const std::string compressed("a\0\0", 3);
  const std::string text = test::chunk("zTXt", compressed + test::zlib_of("text"));
  seeds.put("png", "text", test::png(test::png_header(1, 1, 8, 0) + text, std::string(2, '\0')));
}

void write_photographs(const Seeds& seeds) {
  using namespace ditmoe::tests;
  const std::vector<uint8_t> rgb = picture(17, 9, 3);
  seeds.put("jpeg", "whole", write_jpeg(17, 9, 3, rgb));
  seeds.put("jpeg", "several_scans", write_jpeg(17, 9, 3, rgb, {.progressive = true}));
  seeds.put("jpeg", "arithmetic", write_jpeg(17, 9, 3, rgb, {.arithmetic = true}));
  seeds.put("jpeg", "restarts", write_jpeg(17, 9, 3, rgb, {.restart_rows = 1}));
  const JpegSpec grey{.input = JCS_GRAYSCALE, .stored = JCS_GRAYSCALE};
  seeds.put("jpeg", "grey", write_jpeg(17, 9, 1, picture(17, 9, 1), grey));
  const JpegSpec ink{.input = JCS_CMYK, .stored = JCS_YCCK};
  seeds.put("jpeg", "ink", write_jpeg(17, 9, 4, picture(17, 9, 4), ink));
}

void write_texts(const Seeds& seeds) {
  seeds.put("json", "whole", R"({"a":[1,-2.5e3,true,null,"\u00e9\n"],"b":{"c":{}},"d":""})");
  seeds.put(
      "metadata",
      "config",
      R"({"image_size":32,"channels":4,"patch_size":2,"moe_placement":"every","balance_pool":"batch","balance_factor":0.01,"width":384,"depth":12,"heads":6,)"
      R"("num_classes":1000,"feed_forward":"moe","experts":8,"top_k":2,"shared_experts":2,)"
      R"("objective":"ddpm","learn_sigma":true,"qk_norm":false})");
  seeds.put("metadata", "class_names", R"(["a","b"])");
  seeds.put("metadata", "sampling", R"({"sampler":"ddim","steps":50,"cfg":2,"cfg_channels":"3"})");
  seeds.put("toml",
            "whole",
            "a = 1\nd = [\"x\", 'y']\n# comment\n[train]\nsteps = \"10\"\nlr = [1, 2]\n"
            "date = 1979-05-27T07:32:00Z\n[[list]]\nb = {c = 0x1f, d = 1e-3}\n");
}

void write_checkpoints(const Seeds& seeds) {
  const std::string tensor = test::PickledTensor{}.opcodes();
  const std::string strided =
      test::PickledTensor{.size = {2, 2}, .stride = {0, 1}, .rest = "}"}.opcodes();
  const std::string weights = test::ordered_dict() + "(" + test::pickled_text("a") + tensor +
                              test::pickled_text("b") + test::pickled_parameter(strided) + "u}b";
  const std::string checkpoint =
      test::pickled_dict({{"ema", weights}, {"model", weights}, {"epoch", "K\x01"}});
  seeds.put("pickle", "whole", test::raw("\x80\x02") + checkpoint + ".");
  seeds.put("torch", "whole", test::torch_file_of(checkpoint, test::counted_floats(2)));
  seeds.put("torch", "bare", test::torch_file_of(weights, test::counted_floats(2)));
  seeds.put("torch", "legacy", test::LegacyFile{}.bytes());
}

void write_events(const Seeds& seeds) {
  const std::string keep_five = "\x05";
  const std::string version = "\x09" + std::string(8, '@') + "\x1a\x0d" + "brain.Event:2";
  const std::string scalar =
      "\x10\x05\x2a\x0a\x0a\x08\x0a\x01"
      "a\x15" +
      std::string(4, '?');
  std::string file;
  for (const std::string& event : {version, scalar, std::string("\x10\x06"), scalar}) {
    seeds.put("tfevents", "event_" + std::to_string(file.size()), keep_five + event);
    ditmoe::formats::append_tfrecord(file, event);
  }
  seeds.put("tfevents", "whole", keep_five + file);
  seeds.put("tfevents", "cut", keep_five + file.substr(0, file.size() - 1));
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: fuzz_seeds FOLDER\n");
    return 2;
  }
  const Seeds seeds(argv[1]);
  seeds.put("idx", test::idx_cases());
  seeds.put("jpeg", test::jpeg_cases());
  seeds.put("json", test::json_cases());
  seeds.put("metadata", test::json_cases());
  seeds.put("npz", test::npz_cases());
  seeds.put("npz", test::zip_cases());
  seeds.put("pickle", test::pickle_cases());
  seeds.put("png", test::png_cases());
  seeds.put("safetensors", test::safetensors_cases());
  seeds.put("toml", test::toml_cases());
  seeds.put("torch", test::torch_archive_cases());
  seeds.put("torch", test::torch_tensor_cases());
  write_arrays(seeds);
  write_images(seeds);
  write_photographs(seeds);
  write_texts(seeds);
  write_checkpoints(seeds);
  write_events(seeds);
  return 0;
}
