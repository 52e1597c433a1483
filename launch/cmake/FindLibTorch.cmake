# LibTorch as imported targets, from the folder LIBTORCH (an unpacked wheel, a pip-installed torch, or a LibTorch
# archive). The CMake files that LibTorch ships are not used: on a wheel built for CUDA they stop where no toolkit is.
#
# Defines: LibTorch::cpu (torch_cpu and c10), LIBTORCH_VERSION.
if(NOT LIBTORCH)
  set(LIBTORCH ${PROJECT_SOURCE_DIR}/.deps/libtorch/torch)
endif()
set(version_header ${LIBTORCH}/include/torch/headeronly/version.h)
if(NOT EXISTS ${version_header})
  set(version_header ${LIBTORCH}/include/torch/csrc/api/include/torch/version.h)
endif()
if(NOT EXISTS ${LIBTORCH}/lib/libtorch_cpu.so OR NOT EXISTS ${version_header})
  message(FATAL_ERROR "No LibTorch in ${LIBTORCH}: run launch/setup.sh, or give -DLIBTORCH=DIR (DIR holds include/ and lib/)")
endif()
file(STRINGS ${version_header} lines REGEX "define TORCH_VERSION_(MAJOR|MINOR|PATCH)")
string(REGEX REPLACE ".*MAJOR +([0-9]+).*MINOR +([0-9]+).*PATCH +([0-9]+).*" "\\1.\\2.\\3" LIBTORCH_VERSION "${lines}")
if(LIBTORCH_VERSION VERSION_LESS 2.7)
  message(FATAL_ERROR "LibTorch ${LIBTORCH_VERSION} in ${LIBTORCH} is older than 2.7, whose ABI Muster needs")
endif()
message(STATUS "LibTorch ${LIBTORCH_VERSION} in ${LIBTORCH}")

set(libtorch_includes ${LIBTORCH}/include ${LIBTORCH}/include/torch/csrc/api/include)
# The wheel ships headers of Protobuf 3.13 and of another fmt than the one linked: those must come first. Protobuf and fmt
# are found before.
find_path(system_protobuf_includes google/protobuf/message.h PATHS ${Protobuf_INCLUDE_DIRS} NO_DEFAULT_PATH REQUIRED)
find_path(system_fmt_includes fmt/format.h PATHS ${fmt_includes} NO_DEFAULT_PATH REQUIRED)
file(MAKE_DIRECTORY ${PROJECT_BINARY_DIR}/system-first)
file(CREATE_LINK ${system_protobuf_includes}/google ${PROJECT_BINARY_DIR}/system-first/google SYMBOLIC)
file(CREATE_LINK ${system_fmt_includes}/fmt ${PROJECT_BINARY_DIR}/system-first/fmt SYMBOLIC)
list(PREPEND libtorch_includes ${PROJECT_BINARY_DIR}/system-first)

add_library(LibTorch::c10 SHARED IMPORTED)
set_target_properties(LibTorch::c10 PROPERTIES IMPORTED_LOCATION ${LIBTORCH}/lib/libc10.so)
add_library(LibTorch::cpu SHARED IMPORTED)
set_target_properties(LibTorch::cpu PROPERTIES
  IMPORTED_LOCATION ${LIBTORCH}/lib/libtorch_cpu.so
  INTERFACE_LINK_LIBRARIES LibTorch::c10
  INTERFACE_COMPILE_DEFINITIONS AT_PER_OPERATOR_HEADERS)
target_include_directories(LibTorch::cpu SYSTEM INTERFACE ${libtorch_includes})
