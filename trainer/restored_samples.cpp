#include "trainer/restored_samples.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/tensor.h>

#include <algorithm>
#include <memory>

#include "dataloader/evaluation_reader.h"
#include "dataloader/image.h"
#include "dataloader/transforms.h"
#include "trainer/model_tokenizer.h"

namespace muster {
namespace {

constexpr int64_t kSamples = 8;
constexpr int kShownPixels = 256;  // smaller pictures are shown with pixels that one can see

Image enlarge(const Image& image) {
  const int times = std::max(1, kShownPixels / std::max(image.width, image.height));
  Image large = allocate_image(int64_t{image.width} * times, int64_t{image.height} * times, "a picture for the report");
  for (int y = 0; y < large.height; ++y) {
    for (int x = 0; x < large.width; ++x) {
      const size_t from =
          3 * (static_cast<size_t>(y / times) * static_cast<size_t>(image.width) + static_cast<size_t>(x / times));
      const size_t to = 3 * (static_cast<size_t>(y) * static_cast<size_t>(large.width) + static_cast<size_t>(x));
      std::copy_n(image.pixels.begin() + static_cast<std::ptrdiff_t>(from), 3,
                  large.pixels.begin() + static_cast<std::ptrdiff_t>(to));
    }
  }
  return large;
}

}  // namespace

std::vector<ReportRestoration> restore_samples(const ImageRestoration& head, Model& model, const Store& store,
                                               const SplitEmbeddings& split, const RunSettings& settings) {
  const at::NoGradGuard no_graph;
  const auto total = static_cast<int64_t>(split.captions.size()), count = std::min(total, kSamples);
  std::vector<int64_t> places, captions, images;
  for (int64_t i = 0; i < count; ++i) {
    places.push_back(i * total / count);
    captions.push_back(split.captions[static_cast<size_t>(places.back())]);
    images.push_back(split.caption_images[static_cast<size_t>(places.back())]);
  }
  const std::unique_ptr<Tokenizer> tokenizer = make_model_tokenizer(settings.data, settings.model);
  const InputSize size = input_size(settings.model);
  const EvaluationReader reader(store, settings.data, size, *tokenizer);
  Batch batch;
  batch.images = reader.images(images).images;
  batch.tokens = reader.tokens(captions);
  batch.position = at::tensor(places);
  const bool was_training = model.is_training();
  model.eval();
  const Features live = model.forward(batch, settings.train.seed(), head.tokens());
  const ImageRestoration::Pictures pictures = head.restore(batch, live, model, settings.train.seed());
  model.train(was_training);
  const ImageTransform transform(settings.data.image(), size.width, size.height);
  const auto encode = [&](const at::Tensor& normalised, int64_t row) {
    const at::Tensor one = normalised[row].to(at::kCPU, at::kFloat).contiguous();
    return encode_jpeg(enlarge(transform.to_image(one.const_data_ptr<float>())), 92);
  };
  std::vector<ReportRestoration> restorations;
  for (int64_t i = 0; i < count; ++i) {
    const auto caption = captions[static_cast<size_t>(i)], image = images[static_cast<size_t>(i)];
    restorations.push_back({store.caption(caption), store.identity_name(store.identity(image)),
                            encode(pictures.seen, i), encode(pictures.restored, i), encode(batch.images, i)});
  }
  return restorations;
}

}  // namespace muster
