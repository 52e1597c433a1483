// The data files that come with the program.
#pragma once

#include <string>

namespace muster {

// A file or folder of the running program: in share/ beside it, or in PREFIX/share/muster once installed. It need not
// be there.
std::string default_data_file(const std::string& name);

// A path that a user gives: the path itself, if there is such a file or it is absolute; else that of the data file of
// this name, if there is one; else the path.
std::string find_data_file(const std::string& path);

}  // namespace muster
