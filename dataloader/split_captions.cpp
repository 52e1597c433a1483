#include "dataloader/split_captions.h"

#include <fmt/format.h>

namespace muster {

int64_t captions_of(const Store& store, Split split) {
  int64_t captions = 0;
  for (const int64_t image : store.images_of(split)) captions += store.caption_count(image);
  return captions;
}

std::string splits_with_captions(const Store& store) {
  std::string text;
  for (const Split split : {Split::kTrain, Split::kVal, Split::kTest}) {
    const int64_t captions = captions_of(store, split);
    if (captions > 0) text += fmt::format("{}--split {} has {}", text.empty() ? "" : ", ", split_name(split), captions);
  }
  return text.empty() ? "no split has any: import captions" : text;
}

}  // namespace muster
