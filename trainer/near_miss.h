// What the user may have meant by a name that is not there.
#pragma once

#include <string>
#include <vector>

namespace muster {

// The names of `known` nearest to `word`, nearest first, at most three: by edit distance (insert, delete, replace, swap
// neighbours; case ignored) of at most a third of the word and one more than the nearest's. Each name once; ties in the
// order of `known`.
std::vector<std::string> near_misses(const std::string& word, const std::vector<std::string>& known);

// `: did you mean "a" or "b"?`, to be put behind an error; empty if nothing is near.
std::string did_you_mean(const std::vector<std::string>& names);

}  // namespace muster
