// The report's galleries: queries with what was retrieved for them, and restored images.
#pragma once

#include <string>
#include <vector>

#include "trainer/report/html_report.h"

namespace muster {

std::string render_queries(const std::vector<ReportQuery>& queries);
std::string render_image_queries(const std::vector<ReportImageQuery>& queries);
std::string render_restorations(const std::vector<ReportRestoration>& restorations);

}  // namespace muster
