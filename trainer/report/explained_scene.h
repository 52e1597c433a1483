// The picture of an explained pair, as inline SVG.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "trainer/report/explained_pair.h"

namespace muster {

// In pixels of the pair's width x height.
struct SceneBox {
  double x = 0, y = 0, width = 0, height = 0;
};

// Of a region: its corners in order, a pixel wide and high at least; what is not finite is 0.
SceneBox box_of_region(const ExplainedPair& pair, int64_t region);

// Of the word in place `word`: as it stands in the caption, with "…" where pieces of the same word are next to it.
std::string piece_label(const ExplainedPair& pair, size_t word);

// How a word's parts are coloured: a class that both the word and its box have.
std::string word_class(size_t word);

// Pictures once in a page: `picture` is the element that holds it; empty: none, so that all regions are outlined.
std::string render_scene(const ExplainedPair& pair, const std::string& picture);

}  // namespace muster
