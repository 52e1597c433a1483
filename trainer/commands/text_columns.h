// Tables for a terminal.
#pragma once

#include <string>
#include <vector>

namespace muster {

// A line a row, all of as many cells: columns two blanks apart, each as wide as its widest cell; no line ends in
// blanks.
std::string format_columns(const std::vector<std::vector<std::string>>& rows);

}  // namespace muster
