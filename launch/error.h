// Exceptions for what the world does to us. They are caught in main() only, which prints what() as one line and exits
// with exit_code(). A message says what is wrong, where (file, line, field, rank), and what to do. A broken invariant
// of our own is no Error: it is a std::logic_error and ends as ExitCode::kBug.
#pragma once

#include <stdexcept>
#include <string>

#include "launch/exit_codes.h"

namespace muster {

class Error : public std::runtime_error {
 public:
  Error(ExitCode exit_code, const std::string& message) : std::runtime_error(message), exit_code_(exit_code) {}
  ExitCode exit_code() const { return exit_code_; }

 private:
  ExitCode exit_code_;
};

// A config, a command line, or a combination of settings that cannot work.
class ConfigError : public Error {
 public:
  explicit ConfigError(const std::string& message) : Error(ExitCode::kBadInput, message) {}
};

// A file that is missing, damaged, or not what it should be; a full disk.
class DataError : public Error {
 public:
  explicit DataError(const std::string& message) : Error(ExitCode::kBadInput, message) {}
};

// A peer that is gone, late, or makes another call than we do.
class CommError : public Error {
 public:
  explicit CommError(const std::string& message) : Error(ExitCode::kPeerLost, message) {}
};

class NonFiniteError : public Error {
 public:
  explicit NonFiniteError(const std::string& message) : Error(ExitCode::kLossNotFinite, message) {}
};

}  // namespace muster
