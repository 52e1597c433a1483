# LibTorch as imported targets, from the folder LIBTORCH (an unpacked wheel, a pip-installed torch, or a LibTorch
# archive). The CMake files that LibTorch ships are not used: on a wheel built for CUDA they stop where no toolkit is.
#
# Defines: LibTorch::cpu (torch_cpu and c10), LIBTORCH_VERSION; with MUSTER_CUDA also LibTorch::cuda (torch_cuda, c10_cuda and
# the CUDA runtime that they use) and LIBTORCH_CUDA_MISSING, the libraries without which no program of LibTorch::cuda starts.
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

if(MUSTER_CUDA)
  if(NOT EXISTS ${LIBTORCH}/lib/libtorch_cuda.so)
    message(FATAL_ERROR "${LIBTORCH} has no lib/libtorch_cuda.so: give a LibTorch built for CUDA with -DLIBTORCH=DIR, or leave out -DMUSTER_CUDA")
  endif()
  # The wheel of a pip-installed torch has its CUDA libraries beside it, in nvidia/*/lib; an archive has them in lib.
  file(GLOB libtorch_cuda_folders ${LIBTORCH}/../nvidia/*/lib)
  list(APPEND libtorch_cuda_folders ${LIBTORCH}/lib)
  set(LIBTORCH_CUDA_MISSING "")
  foreach(library cudart cublas cudnn nccl cusparseLt cufile nvshmem_host)
    set(found "")
    foreach(folder ${libtorch_cuda_folders})
      file(GLOB files ${folder}/lib${library}.so.* ${folder}/lib${library}-*.so*)
      list(APPEND found ${files})
    endforeach()
    if(NOT found)
      list(APPEND LIBTORCH_CUDA_MISSING ${library})
    elseif(library STREQUAL cudart)
      list(GET found 0 libtorch_cudart)  # one process, one CUDA runtime
    endif()
  endforeach()

  add_library(LibTorch::c10_cuda SHARED IMPORTED)
  set_target_properties(LibTorch::c10_cuda PROPERTIES IMPORTED_LOCATION ${LIBTORCH}/lib/libc10_cuda.so)
  add_library(LibTorch::cuda INTERFACE IMPORTED)
  target_include_directories(LibTorch::cuda SYSTEM INTERFACE ${CUDAToolkit_INCLUDE_DIRS})
  # Nothing names a symbol of torch_cuda: it is there for what it registers when it is loaded.
  target_link_libraries(LibTorch::cuda INTERFACE LibTorch::cpu LibTorch::c10_cuda
    -Wl,--push-state,--no-as-needed,${LIBTORCH}/lib/libtorch_cuda.so,--pop-state)
  if(libtorch_cudart)
    add_library(LibTorch::cudart SHARED IMPORTED)
    set_target_properties(LibTorch::cudart PROPERTIES IMPORTED_LOCATION ${libtorch_cudart})
    target_link_libraries(LibTorch::cuda INTERFACE LibTorch::cudart)
  else()
    target_link_libraries(LibTorch::cuda INTERFACE CUDA::cudart)
  endif()
  if(LIBTORCH_CUDA_MISSING)
    list(JOIN LIBTORCH_CUDA_MISSING ", " missing)
    message(STATUS "CUDA programs are linked, but cannot start: not beside LibTorch are ${missing}")
    target_link_options(LibTorch::cuda INTERFACE -Wl,--allow-shlib-undefined)
  endif()
endif()
