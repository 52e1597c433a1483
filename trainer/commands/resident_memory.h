// Memory of a piece of work, as the kernel counts it.
#pragma once

#include <functional>

namespace muster {

// How far the resident set rises above its present size while `work` runs, in MiB. DataError without /proc.
double peak_growth_mib(const std::function<void()>& work);

}  // namespace muster
