# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The Sluice developers

# Sets SLUICE_HAVE_CUDNN, and the target sluice_cudnn with what attention by cuDNN includes:
# cuDNN's own headers, of the toolkit or the system, and those of its front end, from where
# CUDNN_FRONTEND_INCLUDE_DIR says, from the system, or, with a network, from the Python registry
# into the build folder. The library itself is opened by a running program.

set(SLUICE_HAVE_CUDNN OFF)
if(SLUICE_CUDNN STREQUAL "OFF")
  return()
endif()

set(frontend_version 1.32.0)
set(frontend_hash c6006556017a4d1c914c52a556c71b1267f2d6a0500f742e7b4edef539878df0)
set(frontend_folder ${CMAKE_BINARY_DIR}/cudnn-frontend)

find_path(CUDNN_INCLUDE_DIR cudnn.h HINTS ${CUDAToolkit_INCLUDE_DIRS})
find_path(CUDNN_FRONTEND_INCLUDE_DIR cudnn_frontend.h HINTS ${frontend_folder}/include)

if(CUDNN_INCLUDE_DIR AND NOT CUDNN_FRONTEND_INCLUDE_DIR)
  include(${CMAKE_SOURCE_DIR}/devices/cuda/wheels.cmake)
  fetch_wheels(${frontend_folder} 120 why_not
    nvidia-cudnn-frontend==${frontend_version}=${frontend_hash})
  find_path(CUDNN_FRONTEND_INCLUDE_DIR cudnn_frontend.h HINTS ${frontend_folder}/include)
endif()

if(CUDNN_INCLUDE_DIR AND CUDNN_FRONTEND_INCLUDE_DIR)
  set(SLUICE_HAVE_CUDNN ON)
  add_library(sluice_cudnn INTERFACE)
  target_include_directories(sluice_cudnn SYSTEM INTERFACE
    ${CUDNN_FRONTEND_INCLUDE_DIR} ${CUDNN_INCLUDE_DIR} ${CUDAToolkit_INCLUDE_DIRS})
  target_compile_definitions(sluice_cudnn INTERFACE
    NV_CUDNN_FRONTEND_USE_DYNAMIC_LOADING CUDNN_FRONTEND_SKIP_JSON_LIB)
  message(STATUS "Attention on GPUs: cuDNN, front end in ${CUDNN_FRONTEND_INCLUDE_DIR}")
  return()
endif()
if(CUDNN_INCLUDE_DIR)
  set(missing "its front-end headers: set CUDNN_FRONTEND_INCLUDE_DIR, or configure with a network and pip (${why_not})")
else()
  set(missing "cudnn.h: install cuDNN 9, or set CUDNN_INCLUDE_DIR")
endif()
if(SLUICE_CUDNN STREQUAL "ON")
  message(FATAL_ERROR "SLUICE_CUDNN is ON, but there is no cuDNN; missing are ${missing}")
endif()
message(STATUS "Attention on GPUs: own tiled kernel, slower than cuDNN; missing are ${missing}")
