// A store small enough for a test and real enough to train on: coloured JPEGs with captions that name their colours.
#pragma once

#include <string>

namespace muster {

// Writes a store of `identities` identities with two images of two captions each; the last two identities are val and
// the two before them test. Needs identities >= 6.
void write_tiny_store(const std::string& path, int identities);

}  // namespace muster
