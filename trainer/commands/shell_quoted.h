// Words of a command that a person copies into a shell.
#pragma once

#include <string>

namespace muster {

// As it is where no shell changes it, else in single quotes; with control characters or bytes that are no UTF-8 as
// $'...' of bash, zsh and POSIX 2024, so that the command stays one line.
std::string shell_quoted(const std::string& word);

}  // namespace muster
