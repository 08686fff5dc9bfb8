# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The Sluice developers

# For a machine without a CUDA toolkit: sets CUDAToolkit_ROOT to one in the build folder, made of
# wheels of the Python registry: nvcc, the runtime, and the libraries that a running program opens
# (cuBLASLt; cuDNN, which wants NVRTC). 1 GB to fetch, once. Where that fails, SLUICE_NO_TOOLKIT
# says why in one line.

set(SLUICE_NO_TOOLKIT "")
set(toolkit_folder ${CMAKE_BINARY_DIR}/cuda-toolkit)
set(toolkit_root ${toolkit_folder}/nvidia/cu13)

if(NOT EXISTS ${toolkit_folder}/complete)
  message(STATUS "No CUDA toolkit is installed: fetching CUDA 13.0 with pip, 1 GB, into ${toolkit_folder}")
  include(devices/cuda/wheels.cmake)
  fetch_wheels(${toolkit_folder} 1800 SLUICE_NO_TOOLKIT
    nvidia-cuda-nvcc==13.0.88=56fe502eb77625a12f25172caa3cdddb4e4c8ba2c8c17dba44b164761b380f03
    nvidia-cuda-crt==13.0.88=2c8043c7c9e02492716426e9919fc78d2c5b3b2a7a768a88e952676b08aa55a4
    nvidia-nvvm==13.0.88=c5f41ffeb6466944a026dfa5317d7d85355c119bbec279205d22f1869d1054e0
    nvidia-cuda-runtime==13.0.96=7f82250d7782aa23b6cfe765ecc7db554bd3c2870c43f3d1821f1d18aebf0548
    nvidia-cuda-cccl==13.0.85=e0da7ad981f3a8aff08241b5bfc1af868742a63e2762f53a5171c492ef242649
    nvidia-cuda-nvrtc==13.0.88=ad9b6d2ead2435f11cbb6868809d2adeeee302e9bb94bcf0539c7a40d80e8575
    nvidia-cublas==13.1.0.3=ee8722c1f0145ab246bccb9e452153b5e0515fd094c3678df50b2a0888b8b171
    nvidia-cudnn-cu13==9.28.1.4=a54f205b1db1f2895d99f398754db1369816f0569dd459731f925635cf7b65ec)
  if(SLUICE_NO_TOOLKIT)
    return()
  endif()
  # One folder, as a toolkit that is installed: what is built with it looks in one place.
  foreach(part include lib)
    file(GLOB cudnn ${toolkit_folder}/nvidia/cudnn/${part}/*)
    file(COPY ${cudnn} DESTINATION ${toolkit_root}/${part})
  endforeach()
  file(REMOVE_RECURSE ${toolkit_folder}/nvidia/cudnn)
  # Names that linkers and CMake look for.
  file(CREATE_LINK lib ${toolkit_root}/lib64 SYMBOLIC)
  file(CREATE_LINK libcudart.so.13 ${toolkit_root}/lib/libcudart.so SYMBOLIC)
  file(TOUCH ${toolkit_folder}/complete)
endif()
# What the search that failed noted down: nvcc in PATH may be what is left of a toolkit.
get_directory_property(noted VARIABLES)
list(FILTER noted INCLUDE REGEX "^CUDAToolkit_")
foreach(name ${noted})
  unset(${name})
  unset(${name} CACHE)
endforeach()
set(CUDAToolkit_ROOT ${toolkit_root})
