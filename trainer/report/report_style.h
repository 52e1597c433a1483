// The report page's style sheet: light and dark, wide and narrow.
#pragma once

namespace muster {

extern const char* const kReportStyle;

}  // namespace muster
