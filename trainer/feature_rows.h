// Which rows of a pair of features are whose, and the parts of a batch as one: of samples with one row each and of
// those with sets of rows alike.
#pragma once

#include <cstdint>
#include <vector>

#include "dataloader/batch.h"
#include "trainer/features.h"

namespace muster {

// Where the rows of these samples are in the pair's image and text.
Slice image_rows(const FeaturePair& pair, Slice samples);
Slice text_rows(const FeaturePair& pair, Slice samples);

// These samples' part of the pair; it shares the pair's memory.
FeaturePair part_of(const FeaturePair& pair, Slice samples);

// One after another, cut off from any graph; at least one part, all with the same pairs. Texts are the pairs with their
// text alone; add_images() gives such texts their images.
Features join_texts(const std::vector<const Features*>& parts);
void add_images(const std::vector<const Features*>& parts, Features& texts);

}  // namespace muster
