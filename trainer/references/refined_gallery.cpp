#include "trainer/references/refined_gallery.h"

#include "comm/local_communicator.h"
#include "trainer/retrieval/fixed_product.h"

namespace muster {

RefinedGallery::RefinedGallery(const ReferenceBasis& basis, const RefinementConfig& config,
                               const RefinementChoice& choice, const at::Tensor& images, SearchIndex& index)
    : map_(basis, config, choice.phi), choice_(choice) {
  const at::Tensor second = map_.second_rows({images, {}}, /*is_text=*/false);
  index.add_second(second);
  if (!config.z_scores()) return;
  LocalCommunicator alone;
  covariance_ = covariance(unit_matrix(images), {images.size(0)}, alone);
  second_covariance_ = covariance(second, {images.size(0)}, alone);
}

SearchIndex::Mixed RefinedGallery::query(const at::Tensor& text) const {
  const at::Tensor row = text.reshape({1, -1}).contiguous();
  const at::Tensor second = map_.second_rows({row, {}}, /*is_text=*/true);
  double ratio = 1;
  if (covariance_.defined()) {
    const double plain = score_deviations(unit_matrix(row), covariance_)[0];
    const double refined = score_deviations(second, second_covariance_)[0];
    ratio = refined > 0 ? plain / refined : 0;
  }
  return {second[0], {1, static_cast<float>(choice_.beta * ratio)}, choice_.top_k};
}

}  // namespace muster
