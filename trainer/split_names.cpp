#include "trainer/split_names.h"

#include <fmt/format.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>

#include "dataloader/formats/atomic_file.h"
#include "dataloader/formats/line_reader.h"
#include "dataloader/text/printable.h"
#include "launch/error.h"

namespace muster {
namespace {

constexpr size_t kMaxRowBytes = 1 << 20;
constexpr const char* kImageRow = "{\"side\":\"image\"";

std::string row_line(const Store& store, const char* side, size_t row, int64_t image, const std::string* caption) {
  nlohmann::ordered_json line{{"side", side},
                              {"row", row},
                              {"path", store.source_path(image)},
                              {"identity", store.identity_name(store.identity(image))},
                              {"identity_number", store.identity(image)}};
  if (caption != nullptr) line["caption"] = *caption;
  return line.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
}

std::vector<int64_t> labels_of(const Store& store, const SplitEmbeddings& embeddings,
                               const std::vector<int64_t>& images) {
  std::vector<int64_t> labels;
  for (const int64_t image : images) labels.push_back(embeddings.label(store, image));
  return labels;
}

}  // namespace

NamedSide named_images(const Store& store, const SplitEmbeddings& embeddings) {
  return {labels_of(store, embeddings, embeddings.images), [&](int64_t row) -> RowName {
            const int64_t image = embeddings.images[static_cast<size_t>(row)];
            return {store.source_path(image), store.identity_name(store.identity(image))};
          }};
}

NamedSide named_texts(const Store& store, const SplitEmbeddings& embeddings) {
  return {labels_of(store, embeddings, embeddings.caption_images), [&](int64_t row) -> RowName {
            const auto place = static_cast<size_t>(row);
            return {store.caption(embeddings.captions[place]),
                    store.identity_name(store.identity(embeddings.caption_images[place]))};
          }};
}

void write_rows(const std::string& path, const Store& store, const SplitEmbeddings& embeddings) {
  write_file_atomically(path, [&](const ByteSink& sink) {
    for (size_t row = 0; row < embeddings.images.size(); ++row) {
      const std::string line = row_line(store, "image", row, embeddings.images[row], nullptr);
      sink(line.data(), line.size());
    }
    for (size_t row = 0; row < embeddings.captions.size(); ++row) {
      const std::string caption = store.caption(embeddings.captions[row]);
      const std::string line = row_line(store, "text", row, embeddings.caption_images[row], &caption);
      sink(line.data(), line.size());
    }
  });
}

std::string rows_path(const std::string& embeddings) {
  return std::filesystem::path(embeddings).replace_extension(".rows.jsonl").string();
}

void check_image_rows(const std::string& path, const Store& store, const std::vector<int64_t>& images) {
  LineReader lines(path, kMaxRowBytes);
  std::string line;
  for (size_t row = 0; row < images.size(); ++row) {
    if (lines.next(line) && line + "\n" == row_line(store, "image", row, images[row], nullptr)) continue;
    throw DataError(fmt::format("{}: row {} is not {}, image {} of the split of {}; make the file anew: muster embed",
                                path, row, printable(store.source_path(images[row])), row, store.path()));
  }
  if (!lines.next(line) || line.rfind(kImageRow, 0) != 0) return;
  throw DataError(fmt::format("{} names more images than the {} of the split of {}; make the file anew: muster embed",
                              path, images.size(), store.path()));
}

}  // namespace muster
