// A store small enough for a test and real enough to train on: coloured JPEGs with captions that name their colours.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace muster {

// Writes a store of `identities` identities with two images of two captions each; the last two identities are val and
// the two before them test. Needs identities >= 6.
void write_tiny_store(const std::string& path, int identities);

// A store of these images of another one, in this order.
void copy_store(const std::string& from, const std::string& to, const std::vector<int64_t>& images);

}  // namespace muster
