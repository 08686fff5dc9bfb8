// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers

// cuBLASLt's matrix products by its description, one element after the other in double. Algorithms
// write all over the workspace that they were given, and want the alignment they were chosen for.

#include "tests/emulator/cuda/cublasLt.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <numeric>
#include <vector>

#include "devices/base/bf16.h"
#include "tests/emulator/stream.h"

struct cublasLtContext {};

namespace {

using sluice::bf16;

// What the opaque structures hold.
struct Product {
  cublasOperation_t a = CUBLAS_OP_N, b = CUBLAS_OP_N;
  cublasLtEpilogue_t epilogue = CUBLASLT_EPILOGUE_DEFAULT;
  const void* bias = nullptr;
  std::int32_t bias_type = -1;  // as d
};
struct Layout {
  cudaDataType_t type;
  std::uint64_t rows, columns;
  std::int64_t stride;
};
struct Preference {
  std::uint64_t workspace = 0;
  std::uint32_t reduction = ~0U;
  std::uint32_t alignment[4] = {256, 256, 256, 256};  // of a, b, c, d
};
struct Algorithm {
  std::uint64_t workspace;
  std::uint32_t alignment[4];
};

template <typename Value, typename Opaque>
Value read(const Opaque* opaque) {
  static_assert(sizeof(Value) <= sizeof(Opaque));
  Value value;
  std::memcpy(static_cast<void*>(&value), opaque, sizeof(Value));
  return value;
}
template <typename Value, typename Opaque>
void write(const Value& value, Opaque* opaque) {
  static_assert(sizeof(Value) <= sizeof(Opaque));
  std::memcpy(opaque, &value, sizeof(Value));
}

template <typename Field>
cublasStatus_t set(Field* field, const void* value, std::size_t size) {
  if (size != sizeof(Field)) return CUBLAS_STATUS_INVALID_VALUE;
  std::memcpy(field, value, size);
  return CUBLAS_STATUS_SUCCESS;
}

std::size_t size_of(cudaDataType_t type) { return type == CUDA_R_32F ? 4 : 2; }

// Element (row, column) of a matrix stored by column.
struct Matrix {
  const void* data;
  Layout layout;
  bool transposed = false;

  double at(std::int64_t row, std::int64_t column) const {
    const std::int64_t i = transposed ? row * layout.stride + column : column * layout.stride + row;
    return layout.type == CUDA_R_32F
               ? static_cast<const float*>(data)[i]
               : static_cast<double>(sluice::to_float(static_cast<const bf16*>(data)[i]));
  }
  std::vector<double> by_column() const {
    std::vector<double> all;
    for (std::int64_t column = 0; column < columns(); ++column) {
      for (std::int64_t row = 0; row < rows(); ++row) all.push_back(at(row, column));
    }
    return all;
  }
  std::int64_t rows() const {
    return static_cast<std::int64_t>(transposed ? layout.columns : layout.rows);
  }
  std::int64_t columns() const {
    return static_cast<std::int64_t>(transposed ? layout.rows : layout.columns);
  }
};

void put(double value, void* data, const Layout& layout, std::int64_t row, std::int64_t column) {
  const std::int64_t i = column * layout.stride + row;
  if (layout.type == CUDA_R_32F) {
    static_cast<float*>(data)[i] = static_cast<float>(value);
  } else {
    static_cast<bf16*>(data)[i] = sluice::to_bf16(static_cast<float>(value));
  }
}

bool has_kernel(const Product& product, const Layout& a, const Layout& b, const Layout& d) {
  if (a.type != b.type || (a.type == CUDA_R_32F && d.type != CUDA_R_32F)) return false;
  return product.epilogue != CUBLASLT_EPILOGUE_BIAS || product.bias_type < 0 ||
         product.bias_type == static_cast<std::int32_t>(d.type);
}

bool fit(const Matrix& a, const Matrix& b, const Layout& d) {
  const auto stride_holds = [](const Layout& layout) {
    return layout.stride >= static_cast<std::int64_t>(layout.rows);
  };
  return a.columns() == b.rows() && static_cast<std::uint64_t>(a.rows()) == d.rows &&
         static_cast<std::uint64_t>(b.columns()) == d.columns && stride_holds(a.layout) &&
         stride_holds(b.layout) && stride_holds(d);
}

}  // namespace

cublasStatus_t cublasLtCreate(cublasLtHandle_t* handle) {
  static cublasLtContext context;
  *handle = &context;
  return CUBLAS_STATUS_SUCCESS;
}

const char* cublasLtGetStatusString(cublasStatus_t status) {
  return status == CUBLAS_STATUS_NOT_SUPPORTED ? "CUBLAS_STATUS_NOT_SUPPORTED"
                                               : "CUBLAS_STATUS_INVALID_VALUE";
}

cublasStatus_t cublasLtMatmulDescInit(cublasLtMatmulDesc_t product, cublasComputeType_t compute,
                                      cudaDataType_t scale) {
  if (compute != CUBLAS_COMPUTE_32F && compute != CUBLAS_COMPUTE_32F_PEDANTIC) {
    return CUBLAS_STATUS_NOT_SUPPORTED;
  }
  if (scale != CUDA_R_32F) return CUBLAS_STATUS_NOT_SUPPORTED;
  write(Product{}, product);
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t product,
                                              cublasLtMatmulDescAttributes_t attribute,
                                              const void* value, std::size_t size) {
  auto described = read<Product>(product);
  cublasStatus_t status = CUBLAS_STATUS_INVALID_VALUE;
  switch (attribute) {
    case CUBLASLT_MATMUL_DESC_TRANSA:
      status = set(&described.a, value, size);
      break;
    case CUBLASLT_MATMUL_DESC_TRANSB:
      status = set(&described.b, value, size);
      break;
    case CUBLASLT_MATMUL_DESC_EPILOGUE:
      status = set(&described.epilogue, value, size);
      break;
    case CUBLASLT_MATMUL_DESC_BIAS_POINTER:
      status = set(&described.bias, value, size);
      break;
    case CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE:
      status = set(&described.bias_type, value, size);
      break;
  }
  write(described, product);
  return status;
}

cublasStatus_t cublasLtMatrixLayoutInit(cublasLtMatrixLayout_t layout, cudaDataType_t type,
                                        std::uint64_t rows, std::uint64_t columns,
                                        std::int64_t stride) {
  write(Layout{type, rows, columns, stride}, layout);
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulPreferenceInit(cublasLtMatmulPreference_t preference) {
  write(Preference{}, preference);
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t preference,
                                                    cublasLtMatmulPreferenceAttributes_t attribute,
                                                    const void* value, std::size_t size) {
  auto preferred = read<Preference>(preference);
  cublasStatus_t status = CUBLAS_STATUS_INVALID_VALUE;
  switch (attribute) {
    case CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES:
      status = set(&preferred.workspace, value, size);
      break;
    case CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK:
      status = set(&preferred.reduction, value, size);
      break;
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES:
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES:
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES:
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES:
      status = set(&preferred.alignment[attribute - CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES],
                   value, size);
      break;
  }
  write(preferred, preference);
  return status;
}

cublasStatus_t cublasLtMatmulAlgoGetHeuristic(
    cublasLtHandle_t /*handle*/, cublasLtMatmulDesc_t product, cublasLtMatrixLayout_t a,
    cublasLtMatrixLayout_t b, cublasLtMatrixLayout_t /*c*/, cublasLtMatrixLayout_t d,
    cublasLtMatmulPreference_t preference, int most, cublasLtMatmulHeuristicResult_t results[],
    int* found) {
  const auto preferred = read<Preference>(preference);
  *found = 0;
  if (most < 1) return CUBLAS_STATUS_INVALID_VALUE;
  // An element of odd address belongs to no kernel.
  if (!has_kernel(read<Product>(product), read<Layout>(a), read<Layout>(b), read<Layout>(d)) ||
      preferred.alignment[0] < size_of(read<Layout>(a).type)) {
    return CUBLAS_STATUS_NOT_SUPPORTED;
  }
  Algorithm algorithm{.workspace = preferred.workspace, .alignment = {}};
  std::copy(std::begin(preferred.alignment), std::end(preferred.alignment), algorithm.alignment);
  results[0] = {.algo = {}, .workspaceSize = preferred.workspace, .state = CUBLAS_STATUS_SUCCESS};
  write(algorithm, &results[0].algo);
  *found = 1;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmul(cublasLtHandle_t /*handle*/, cublasLtMatmulDesc_t product,
                              const void* alpha, const void* a, cublasLtMatrixLayout_t a_layout,
                              const void* b, cublasLtMatrixLayout_t b_layout, const void* beta,
                              const void* c, cublasLtMatrixLayout_t c_layout, void* d,
                              cublasLtMatrixLayout_t d_layout,
                              const cublasLtMatmulAlgo_t* algorithm, void* workspace,
                              std::size_t workspace_size, cudaStream_t stream) {
  const auto described = read<Product>(product);
  const auto chosen = read<Algorithm>(algorithm);
  const Matrix left{a, read<Layout>(a_layout), described.a == CUBLAS_OP_T};
  const Matrix right{b, read<Layout>(b_layout), described.b == CUBLAS_OP_T};
  const Matrix start{c, read<Layout>(c_layout)};
  const auto result = read<Layout>(d_layout);
  const void* const addresses[] = {a, b, c, d};
  for (int i = 0; i < 4; ++i) {
    if (reinterpret_cast<std::uintptr_t>(addresses[i]) % chosen.alignment[i] != 0) {
      return CUBLAS_STATUS_INVALID_VALUE;
    }
  }
  if (!fit(left, right, result) || workspace_size < chosen.workspace ||
      (described.epilogue == CUBLASLT_EPILOGUE_BIAS && described.bias == nullptr)) {
    return CUBLAS_STATUS_INVALID_VALUE;
  }
  const double scale = *static_cast<const float*>(alpha);
  const double keep = *static_cast<const float*>(beta);
  const auto work = [=] {
    if (workspace != nullptr)
      std::memset(workspace, 0xff, std::min<std::size_t>(workspace_size, 4096));
    const Matrix bias{described.bias, result};
    const std::int64_t k = right.rows();
    std::vector<double> line(static_cast<std::size_t>(k));
    const std::vector<double> columns = right.by_column();
    for (std::int64_t row = 0; row < left.rows(); ++row) {
      for (std::int64_t i = 0; i < k; ++i) line[static_cast<std::size_t>(i)] = left.at(row, i);
      for (std::int64_t column = 0; column < right.columns(); ++column) {
        double sum =
            scale * std::inner_product(line.begin(), line.end(),
                                       &columns[static_cast<std::size_t>(column * k)], 0.0);
        if (keep != 0) sum += keep * start.at(row, column);
        if (described.epilogue == CUBLASLT_EPILOGUE_BIAS) sum += bias.at(row, 0);
        put(sum, d, result, row, column);
      }
    }
    return cudaSuccess;
  };
  return emulator::enqueue(stream, work) == cudaSuccess ? CUBLAS_STATUS_SUCCESS
                                                        : CUBLAS_STATUS_EXECUTION_FAILED;
}
