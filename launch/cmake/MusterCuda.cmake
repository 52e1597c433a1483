# The GPU code, and the programs that hold it. Included with MUSTER_CUDA ON or CHECK only.
#
# One rule: GPU code lies in *.cu, *_cuda.cpp and *_cuda.h of any folder, and nothing else includes CUDA's or NCCL's headers
# (the test tree.gpu_code). These files are no part of the folders' static libraries: together they are the object library
# muster_cuda. A function of theirs that other code calls is defined a second time, alone in a file *_cpu.cpp of the
# folder's library ("this build has no CUDA"): a linker takes nothing from an archive that an object already defines. So
# the same static libraries serve programs with and without CUDA, no file is compiled twice, and there is no #ifdef.
set(CMAKE_CUDA_ARCHITECTURES "80;90" CACHE STRING "GPUs to compile for: 80 is A100, 90 is H100 and H200")
set(CMAKE_CUDA_STANDARD 17)
set(CMAKE_CUDA_STANDARD_REQUIRED ON)
set(CMAKE_CUDA_FLAGS_RELEASE "-O2")
set(CMAKE_CUDA_RUNTIME_LIBRARY None)  # LibTorch::cuda links the one that LibTorch uses
set(CMAKE_CUDA_COMPILER ${CUDAToolkit_NVCC_EXECUTABLE})
if(CCACHE)
  set(CMAKE_CUDA_COMPILER_LAUNCHER ${CCACHE})
endif()
enable_language(CUDA)

set(cuda_sources "")
foreach(folder launch comm dataloader trainer configs)
  file(GLOB_RECURSE found CONFIGURE_DEPENDS ${folder}/*.cu ${folder}/*_cuda.cpp)
  list(APPEND cuda_sources ${found})
endforeach()
add_library(muster_cuda OBJECT ${cuda_sources})
target_link_libraries(muster_cuda PUBLIC muster_trainer LibTorch::cuda NCCL::nccl PRIVATE muster_options MPI::MPI_C)

# muster_with_cuda(PROGRAM): gives a program the GPU code.
function(muster_with_cuda program)
  target_link_libraries(${program} PRIVATE muster_cuda)
  set_target_properties(${program} PROPERTIES LINKER_LANGUAGE CXX)
  if(MUSTER_CUDA STREQUAL CHECK)
    set_target_properties(${program} PROPERTIES EXCLUDE_FROM_ALL ON)
    add_dependencies(cuda_check ${program})
  endif()
endfunction()

if(MUSTER_CUDA STREQUAL CHECK)
  # For where there is a CUDA toolkit and no GPU: all GPU code is compiled, warnings are errors, and linked. muster stays
  # without it, and so do the tests: the programs of this target are not run.
  add_custom_target(cuda_check)
  set_target_properties(muster_cuda PROPERTIES EXCLUDE_FROM_ALL ON)
  add_executable(muster_checked_cuda trainer/main.cpp)
  target_link_libraries(muster_checked_cuda PRIVATE muster_commands)
  muster_with_cuda(muster_checked_cuda)
else()
  muster_with_cuda(muster)
endif()
add_custom_target(gpu_tests)  # the programs of muster_gpu_test()
