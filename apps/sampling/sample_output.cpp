#include "apps/sampling/sample_output.h"

#include <filesystem>
#include <system_error>
#include <utility>
#include <vector>

#include "ditmoe/base/error.h"
#include "ditmoe/formats/file.h"
#include "ditmoe/formats/folder.h"
#include "ditmoe/formats/npz.h"
#include "ditmoe/formats/png.h"
#include "ditmoe/pipeline/grid.h"
#include "ditmoe/pipeline/labels.h"

namespace ditmoe::apps {
namespace {

namespace fs = std::filesystem;

bool is_folder(const std::string& path) {
  std::error_code ignored;  // of a name that cannot be looked at
  return fs::is_directory(path, ignored);
}

SampleOutput::Kind kind_of(const std::string& path) {
  if (path.ends_with('/') || is_folder(path)) return SampleOutput::Kind::kFolder;
  if (path.ends_with(".png")) return SampleOutput::Kind::kPicture;
  if (path.ends_with(".npz")) return SampleOutput::Kind::kArrays;
  base::bad_input(
      "{}: expected a name that ends in .png (one picture), .npz (arrays) or / (a folder "
      "of pictures)",
      path);
}

// Pictures on their way into a folder, under a temporary name until commit and gone without it. A
// new folder then appears whole. One that is there stays what it is, and the files are moved into
// it: a mount point or a current folder cannot be replaced, nor any in a folder that is read-only.
class PictureFolder {
 public:
  explicit PictureFolder(const std::string& path)
      : path_(formats::without_slashes(path)),
        is_new_(!is_folder(path_)),
        temporary_(formats::make_folder_beside(is_new_ ? path_ : path_ + "/pictures")) {}

  ~PictureFolder() {
    std::error_code ignored;
    if (!is_kept_) fs::remove_all(temporary_, ignored);
  }

  PictureFolder(const PictureFolder&) = delete;
  PictureFolder& operator=(const PictureFolder&) = delete;

  std::string file(const std::string& name) const { return temporary_ + "/" + name; }

  // What cannot be put in place stays where it is: it took time to draw.
  void commit() {
    try {
      if (is_new_) return formats::rename_folder(temporary_, path_);
      formats::move_up(temporary_);
    } catch (const base::Error& error) {
      is_kept_ = true;
      base::failure("{}; the pictures are in {}", error.what(), temporary_);
    }
  }

 private:
  std::string path_;
  bool is_new_;
  std::string temporary_;
  bool is_kept_ = false;
};

// A folder for pictures must be a new one that can be made, or an empty one that can be written.
void check_folder(const std::string& path) {
  const std::string folder = formats::without_slashes(path);
  std::error_code error;
  const fs::file_type type = fs::status(folder, error).type();
  if (type == fs::file_type::none) base::bad_input("{}: {}", folder, error.message());
  if (type == fs::file_type::not_found) {
    formats::expect_writable(folder);
    if (fs::is_symlink(fs::symlink_status(folder, error))) {
      base::bad_input("{}: expected a folder, found a link to nothing", folder);
    }
  } else if (type != fs::file_type::directory) {
    base::bad_input("{}: expected a folder, found a file", folder);
  } else {
    const bool is_empty = fs::is_empty(folder, error);
    if (error) base::bad_input("{}: cannot be read: {}", folder, error.message());
    if (!is_empty) base::bad_input("{}: the folder is not empty", folder);
  }
  try {
    const PictureFolder trial(folder);
  } catch (const base::Error& thrown) {  // rather now than with all images computed
    base::bad_input("{}", thrown.what());
  }
}

// "a, b" → "\"a, b\"": a field of a CSV file.
std::string csv_field(const std::string& text) {
  if (text.find_first_of(",\"\n") == std::string::npos) return text;
  std::string quoted = "\"";
  for (const char c : text) quoted += c == '"' ? std::string("\"\"") : std::string(1, c);
  return quoted + "\"";
}

}  // namespace

SampleOutput::SampleOutput(std::string path,
                           const networks::ModelFile& model,
                           const ImageShape& image)
    : path_(std::move(path)), kind_(kind_of(path_)), model_(model), image_(image) {
  const int64_t channels = image.channels;
  if (kind_ != Kind::kArrays && channels != 1 && channels != 3) {
    base::bad_input(
        "{}: {} draws latents of {} channels, which are no picture; decode them with --vae, or "
        "write them to a name that ends in .npz",
        path_,
        model.path(),
        channels);
  }
  if (kind_ == Kind::kFolder) {
    check_folder(path_);
  } else {
    formats::expect_usable_name(path_);
    formats::expect_writable(path_);
  }
}

void SampleOutput::check_size(const pipeline::PictureSettings& settings) const {
  constexpr int64_t kMostPixels = int64_t{1} << 27;
  if (kind_ != Kind::kPicture) return;
  const auto count = static_cast<int64_t>(settings.request.labels.size());
  const int64_t side = image_.size * settings.scale;
  if (count > kMostPixels / (side * side)) {
    base::bad_input(
        "{}: {} images of {}x{} pixels are too many for one picture; write them to a "
        "folder (-o NAME/), to .npz, or with a smaller --scale",
        path_,
        count,
        side,
        side);
  }
}

void SampleOutput::write(const base::Tensor& images_NCHW,
                         const pipeline::PictureSettings& settings) const {
  switch (kind_) {
    case Kind::kPicture:
      return write_picture(images_NCHW, settings);
    case Kind::kArrays:
      return write_arrays(images_NCHW, settings);
    case Kind::kFolder:
      return write_folder(images_NCHW, settings);
  }
}

std::string SampleOutput::name_of(int32_t label) const {
  return pipeline::label_name(label, model_.config().num_classes, model_.class_names());
}

void SampleOutput::write_picture(const base::Tensor& images_NCHW,
                                 const pipeline::PictureSettings& settings) const {
  const std::vector<int32_t>& labels = settings.request.labels;
  std::vector<std::string> names;
  for (const int32_t label : labels) names.push_back(name_of(label));
  // Rows follow the labels unless a number of columns was asked for.
  pipeline::GridLayout layout;
  if (settings.columns == 0) layout = pipeline::layout_by_label(labels, names);
  if (settings.columns > 0) layout.columns = settings.columns;
  layout.scale = settings.scale;
  if (labels.size() == 1) layout.gap = 0;
  formats::Image picture = pipeline::make_grid(pipeline::to_uint8_NHWC(images_NCHW), layout);
  picture.text = pipeline::picture_text(settings, model_, image_.size);
  formats::write_png(path_, picture);
}

void SampleOutput::write_arrays(const base::Tensor& images_NCHW,
                                const pipeline::PictureSettings& settings) const {
  base::Tensor labels(base::DType::kI64, {images_NCHW.dim(0)});
  std::copy(
      settings.request.labels.begin(), settings.request.labels.end(), labels.as<int64_t>().begin());
  if (image_.channels != 1 && image_.channels != 3) {
    formats::write_npz(path_, {{"latents", images_NCHW.view()}, {"labels", labels.view()}});
    return;
  }
  // The names of the batches that the ADM evaluation suite reads.
  const base::Tensor pixels_NHWC = pipeline::to_uint8_NHWC(images_NCHW);
  formats::write_npz(path_, {{"arr_0", pixels_NHWC.view()}, {"arr_1", labels.view()}});
}

void SampleOutput::write_folder(const base::Tensor& images_NCHW,
                                const pipeline::PictureSettings& settings) const {
  const base::Tensor pixels_NHWC = pipeline::to_uint8_NHWC(images_NCHW);
  const int64_t size = pixels_NHWC.size() / pixels_NHWC.dim(0);
  PictureFolder folder(path_);
  std::string table = "file,label,name\n";
  for (int64_t i = 0; i < pixels_NHWC.dim(0); ++i) {
    const int32_t label = settings.request.labels[i];
    pipeline::PictureSettings own = settings;
    own.request.labels = {label};
    own.request.first_image = settings.request.first_image + i;
    own.columns = 0;
    own.scale = 1;
    formats::Image image{pixels_NHWC.dim(2), pixels_NHWC.dim(1), pixels_NHWC.dim(3), {}, {}};
    const auto pixels = pixels_NHWC.as<uint8_t>().subspan(i * size, size);
    image.pixels_HWC.assign(pixels.begin(), pixels.end());
    image.text = pipeline::picture_text(own, model_, image_.size);
    const std::string name = fmt::format("{:06}.png", i);
    formats::write_png(folder.file(name), image);
    table += fmt::format("{},{},{}\n", name, label, csv_field(name_of(label)));
  }
  formats::write_text(folder.file("labels.csv"), table);
  folder.commit();
}

}  // namespace ditmoe::apps
