#include "trainer/commands/augmented_sheet.h"

#include <fmt/format.h>
#include <google/protobuf/text_format.h>

#include <algorithm>
#include <cmath>

#include "configs/load.h"
#include "dataloader/region_batch.h"
#include "dataloader/sample_list.h"
#include "dataloader/text_transform.h"
#include "dataloader/transforms.h"
#include "launch/error.h"
#include "trainer/encoders/model_config.h"
#include "trainer/model_tokenizer.h"
#include "trainer/report/contact_sheet.h"

namespace muster {
namespace {

constexpr int kQuality = 95;

class SheetMaker {
 public:
  SheetMaker(const Store& store, const RunConfig& config)
      : config_(config),
        samples_(store, config.data()),
        transform_(config.data().image(), config.model().image().width_pixels(),
                   config.model().image().height_pixels()),
        tokenizer_(make_model_tokenizer(config.data(), config.model())),
        text_(config.data().text(), *tokenizer_) {
    if (samples_.size() == 0) {
      throw DataError(fmt::format("{}: no image of data.train_splits has a caption", store.path()));
    }
  }

  // Rows spread evenly over the samples; version v of row r is what training makes of it at position r * versions + v.
  std::vector<SheetRow> make_rows(int64_t rows, int64_t versions) const {
    std::vector<SheetRow> result;
    rows = std::min(rows, samples_.size());
    for (int64_t row = 0; row < rows; ++row) {
      result.push_back(make_row(row * samples_.size() / rows, row * versions, versions));
    }
    return result;
  }

 private:
  SheetRow make_row(int64_t number, int64_t position, int64_t versions) const {
    const uint64_t seed = config_.train().seed();
    const Sample first = samples_.at(number, seed, position);
    const Store& store = *first.store;
    const std::vector<uint8_t> bytes = store.image_bytes(first.image);
    const Image image = decode_image(bytes.data(), bytes.size(), store.source_path(first.image));
    std::vector<float> pixels(static_cast<size_t>(transform_.floats()));
    SheetRow row;
    row.name = fmt::format("image {}  {}  identity {}", first.image, store.source_path(first.image),
                           store.identity_name(store.identity(first.image)));
    transform_.evaluate(image, pixels.data());
    row.image = picture(pixels);
    for (int64_t c = 0; c < store.caption_count(first.image); ++c) {
      row.captions.push_back(store.caption(store.first_caption(first.image) + c));
    }
    std::vector<int64_t> ids(static_cast<size_t>(config_.model().text().context()));
    for (int64_t version = position; version < position + versions; ++version) {
      const auto place = static_cast<uint64_t>(version);
      transform_.train(image, seed, place, pixels.data());
      const std::string caption = store.caption(samples_.at(number, seed, version).caption);
      text_.encode(caption, seed, place, ids.data(), config_.model().text().context());
      row.versions.push_back({picture(pixels), tokenizer_->decode(ids.data(), config_.model().text().context())});
    }
    return row;
  }

  // The normalised [3, height, width] as a picture again.
  std::vector<uint8_t> picture(const std::vector<float>& pixels) const {
    const ImageTransformConfig& config = config_.data().image();
    Image image = allocate_image(transform_.width(), transform_.height(), "contact sheet");
    const size_t plane = pixels.size() / 3;
    for (size_t i = 0; i < pixels.size(); ++i) {
      const auto channel = static_cast<int>(i / plane);
      const float value = (pixels[i] * config.std(channel) + config.mean(channel)) * 255;
      image.pixels[i % plane * 3 + i / plane] = static_cast<uint8_t>(std::lround(std::clamp(value, 0.0F, 255.0F)));
    }
    return encode_jpeg(image, kQuality);
  }

  const RunConfig& config_;
  SampleList samples_;
  ImageTransform transform_;
  std::unique_ptr<Tokenizer> tokenizer_;
  TextTransform text_;
};

}  // namespace

void write_augmented_sheet(const std::string& path, const Store& store, const std::string& config, int64_t rows,
                           int64_t versions) {
  const std::string ending = ".html";
  if (path.size() < ending.size() || path.compare(path.size() - ending.size(), ending.size(), ending) != 0) {
    throw ConfigError(fmt::format("--augmented {}: the page is HTML; give a name that ends in .html", path));
  }
  const RunConfig run = load_run_config(config, {});
  if (has_sets(run.model())) {
    throw ConfigError(fmt::format("--augmented {}: the model of {} takes regions, of which there is no picture to draw",
                                  path, config));
  }
  check_readable(store, 0);
  ContactSheet sheet;
  sheet.title = fmt::format("{} as training sees it", store.path());
  sheet.facts = {
      {"config", config},
      {"seed", std::to_string(run.train().seed())},
      {"size", fmt::format("{} x {}", run.model().image().width_pixels(), run.model().image().height_pixels())}};
  google::protobuf::TextFormat::PrintToString(run.data(), &sheet.config);
  sheet.rows = SheetMaker(store, run).make_rows(rows, versions);
  write_contact_sheet(path, sheet);
}

}  // namespace muster
