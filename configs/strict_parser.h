// Protobuf text format, strictly, with all that is wrong in it at once.
#pragma once

#include <google/protobuf/descriptor.h>
#include <google/protobuf/message.h>

#include <string>
#include <vector>

namespace muster {

// Parses `text` into `message` (cleared first) and returns the problems, in file order: syntax and type errors (parsing
// stops at the first), fields given twice, and every unknown field, with what may have been meant. Each is one line,
// "NAME:LINE:COLUMN: ...", counted from 1.
std::vector<std::string> parse_strictly(const std::string& text, const std::string& name,
                                        google::protobuf::Message& message);

// What protobuf says of a text below `root`, in our words where they can say more.
std::string explain_parse_error(const std::string& message, const google::protobuf::Descriptor& root);
// The same, with the message inside which it is: several may have a field of one name.
std::string explain_parse_error(const std::string& message, const google::protobuf::Descriptor& root,
                                const google::protobuf::Descriptor& place);

}  // namespace muster
