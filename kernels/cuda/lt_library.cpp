// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers

// The functions of cuBLASLt that lt_matmul.cu calls, each of which opens the library at the first
// call of any. Linked, it would cost every program that starts, on the host device too, 100 MiB
// of RAM for its relocations, and a machine without it could start none.

#include <cublasLt.h>
#include <dlfcn.h>

#include <string>

#include "devices/base/error.h"

#define SLUICE_TEXT_OF(number) #number
#define SLUICE_TEXT(macro) SLUICE_TEXT_OF(macro)

namespace sluice {
namespace {

void* library() {
  constexpr const char* kName = "libcublasLt.so." SLUICE_TEXT(CUBLAS_VER_MAJOR);
  // Never closed: at exit the driver may be gone before it.
  static void* const opened = [] {
    void* const handle = ::dlopen(kName, RTLD_NOW | RTLD_LOCAL);
    if (handle != nullptr) return handle;
    throw Error(ErrorKind::kConfig, std::string(::dlerror()) +
                                        ": install the CUDA toolkit's cuBLAS, or name its folder "
                                        "in LD_LIBRARY_PATH");
  }();
  return opened;
}

// `Function` is the type of the wrapper that asks, which is that of the library's function.
template <typename Function>
Function* in_library(Function* /*wrapper*/, const char* name) {
  void* const found = ::dlsym(library(), name);
  if (found == nullptr) {
    throw Error(ErrorKind::kConfig, std::string("cuBLASLt has no ") + name +
                                        ": it is not of the CUDA that this was built with");
  }
  return reinterpret_cast<Function*>(found);
}

}  // namespace
}  // namespace sluice

// Looked up once.
#define SLUICE_IN_LIBRARY(function) \
  static const auto there = sluice::in_library(function, #function)

cublasStatus_t cublasLtCreate(cublasLtHandle_t* handle) {
  SLUICE_IN_LIBRARY(cublasLtCreate);
  return there(handle);
}

const char* cublasLtGetStatusString(cublasStatus_t status) {
  SLUICE_IN_LIBRARY(cublasLtGetStatusString);
  return there(status);
}

cublasStatus_t cublasLtMatmulDescInit_internal(cublasLtMatmulDesc_t product, size_t size,
                                               cublasComputeType_t compute, cudaDataType_t scale) {
  SLUICE_IN_LIBRARY(cublasLtMatmulDescInit_internal);
  return there(product, size, compute, scale);
}

cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t product,
                                              cublasLtMatmulDescAttributes_t attribute,
                                              const void* value, size_t size) {
  SLUICE_IN_LIBRARY(cublasLtMatmulDescSetAttribute);
  return there(product, attribute, value, size);
}

cublasStatus_t cublasLtMatrixLayoutInit_internal(cublasLtMatrixLayout_t layout, size_t size,
                                                 cudaDataType type, uint64_t rows, uint64_t columns,
                                                 int64_t stride) {
  SLUICE_IN_LIBRARY(cublasLtMatrixLayoutInit_internal);
  return there(layout, size, type, rows, columns, stride);
}

cublasStatus_t cublasLtMatmulPreferenceInit_internal(cublasLtMatmulPreference_t preference,
                                                     size_t size) {
  SLUICE_IN_LIBRARY(cublasLtMatmulPreferenceInit_internal);
  return there(preference, size);
}

cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t preference,
                                                    cublasLtMatmulPreferenceAttributes_t attribute,
                                                    const void* value, size_t size) {
  SLUICE_IN_LIBRARY(cublasLtMatmulPreferenceSetAttribute);
  return there(preference, attribute, value, size);
}

cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t handle, cublasLtMatmulDesc_t product,
                                              cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                                              cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d,
                                              cublasLtMatmulPreference_t preference, int most,
                                              cublasLtMatmulHeuristicResult_t results[],
                                              int* found) {
  SLUICE_IN_LIBRARY(cublasLtMatmulAlgoGetHeuristic);
  return there(handle, product, a, b, c, d, preference, most, results, found);
}

cublasStatus_t cublasLtMatmul(cublasLtHandle_t handle, cublasLtMatmulDesc_t product,
                              const void* alpha, const void* a, cublasLtMatrixLayout_t a_layout,
                              const void* b, cublasLtMatrixLayout_t b_layout, const void* beta,
                              const void* c, cublasLtMatrixLayout_t c_layout, void* d,
                              cublasLtMatrixLayout_t d_layout,
                              const cublasLtMatmulAlgo_t* algorithm, void* workspace,
                              size_t workspace_size, cudaStream_t stream) {
  SLUICE_IN_LIBRARY(cublasLtMatmul);
  return there(handle, product, alpha, a, a_layout, b, b_layout, beta, c, c_layout, d, d_layout,
               algorithm, workspace, workspace_size, stream);
}
