// The data files that come with the program.
#pragma once

#include <string>

namespace muster {

// A file or folder of the running program: in share/ beside it, or in PREFIX/share/muster once installed. It need not
// be there.
std::string default_data_file(const std::string& name);

}  // namespace muster
