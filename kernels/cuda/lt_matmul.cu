// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "kernels/cuda/lt_matmul.h"

#include <cublasLt.h>

#include <compare>
#include <map>
#include <mutex>
#include <optional>
#include <string>

#include "devices/base/log.h"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/table.h"

namespace sluice {
namespace {

void check_lt(cublasStatus_t status, const char* call) {
  if (status == CUBLAS_STATUS_SUCCESS) return;
  throw Error(ErrorKind::kInternal,
              std::string("cuBLASLt: ") + call + ": " + cublasLtGetStatusString(status));
}

// All that an algorithm may depend on.
struct MatmulKey {
  std::int64_t m, n, k, a_stride, b_stride, c_stride;
  bool a_transposed, b_transposed, bias, accumulate;
  DType dtype, output;
  unsigned a_alignment, b_alignment, c_alignment;
  std::int64_t scratch;

  auto operator<=>(const MatmulKey&) const = default;
};

// The largest power of two up to 16 that divides the address. No kernel asks for more; and more
// would let the place of a tensor in its arena choose the algorithm, and with it the bits.
unsigned alignment_of(const void* address) {
  const auto value = reinterpret_cast<std::uintptr_t>(address) | 16U;
  return static_cast<unsigned>(value & (~value + 1));
}

MatmulKey key_of(const Matmul& a, Bytes scratch) {
  return {a.m,
          a.n,
          a.k,
          a.a_stride,
          a.b_stride,
          a.c_stride,
          a.a_transposed,
          a.b_transposed,
          a.bias != nullptr,
          a.accumulate,
          a.dtype,
          a.output,
          alignment_of(a.a),
          alignment_of(a.b),
          alignment_of(a.c),
          scratch.value};
}

cudaDataType_t lt_type(DType dtype) { return dtype == DType::kFloat32 ? CUDA_R_32F : CUDA_R_16BF; }

// The library's descriptors are plain memory to us: a plan is a value.
struct MatmulPlan {
  cublasLtMatmulDescOpaque_t product;
  cublasLtMatrixLayoutOpaque_t left, right, result;
  cublasLtMatmulAlgo_t algorithm;
};

void set(cublasLtMatmulDesc_t product, cublasLtMatmulDescAttributes_t name, const auto& value) {
  check_lt(cublasLtMatmulDescSetAttribute(product, name, &value, sizeof(value)),
           "describe a product");
}
void set(cublasLtMatmulPreference_t preference, cublasLtMatmulPreferenceAttributes_t name,
         const auto& value) {
  check_lt(cublasLtMatmulPreferenceSetAttribute(preference, name, &value, sizeof(value)),
           "describe a preference");
}

// A row-major matrix is a column-major one of rows and columns exchanged, `columns` high.
void describe(cublasLtMatrixLayout_t layout, DType dtype, std::int64_t rows, std::int64_t columns,
              bool transposed, std::int64_t stride) {
  const std::int64_t high = transposed ? rows : columns;
  const std::int64_t wide = transposed ? columns : rows;
  check_lt(cublasLtMatrixLayoutInit(layout, lt_type(dtype), static_cast<std::uint64_t>(high),
                                    static_cast<std::uint64_t>(wide), stride),
           "describe a matrix");
}

// c' = b' a' in the library's column-major order, where ' exchanges rows and columns.
void describe(const Matmul& a, MatmulPlan* plan) {
  // Pedantic: no environment variable makes fp32 less than that.
  const cublasComputeType_t compute =
      a.dtype == DType::kFloat32 ? CUBLAS_COMPUTE_32F_PEDANTIC : CUBLAS_COMPUTE_32F;
  check_lt(cublasLtMatmulDescInit(&plan->product, compute, CUDA_R_32F), "describe a product");
  set(&plan->product, CUBLASLT_MATMUL_DESC_TRANSA, a.b_transposed ? CUBLAS_OP_T : CUBLAS_OP_N);
  set(&plan->product, CUBLASLT_MATMUL_DESC_TRANSB, a.a_transposed ? CUBLAS_OP_T : CUBLAS_OP_N);
  if (a.bias != nullptr) {
    set(&plan->product, CUBLASLT_MATMUL_DESC_EPILOGUE, CUBLASLT_EPILOGUE_BIAS);
    set(&plan->product, CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE,
        static_cast<std::int32_t>(lt_type(a.dtype)));
    set(&plan->product, CUBLASLT_MATMUL_DESC_BIAS_POINTER, a.bias);
  }
  describe(&plan->left, a.dtype, a.k, a.n, a.b_transposed, a.b_stride);
  describe(&plan->right, a.dtype, a.m, a.k, a.a_transposed, a.a_stride);
  describe(&plan->result, a.output, a.m, a.n, false, a.c_stride);
}

class LtMatmul {
 public:
  LtMatmul() { check_lt(cublasLtCreate(&handle_), "start"); }

  bool multiply(cudaStream_t stream, Scratch scratch, const Matmul& a);
  void prepare(Bytes scratch, const Matmul& a) {
    const std::lock_guard lock(mutex_);
    plan_for(a, scratch);
  }

 private:
  const std::optional<MatmulPlan>& plan_for(const Matmul& a, Bytes scratch);
  std::optional<MatmulPlan> make_plan(const Matmul& a, Bytes scratch);

  std::mutex mutex_;
  cublasLtHandle_t handle_ = nullptr;
  std::map<MatmulKey, std::optional<MatmulPlan>> plans_;  // nothing: the library has no kernel
};

std::optional<MatmulPlan> LtMatmul::make_plan(const Matmul& a, Bytes scratch) {
  MatmulPlan plan;
  describe(a, &plan);
  cublasLtMatmulPreferenceOpaque_t preference;
  check_lt(cublasLtMatmulPreferenceInit(&preference), "describe a preference");
  set(&preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
      static_cast<std::uint64_t>(scratch.value));
  // Split sums only by way of the workspace, in the type of the arithmetic.
  set(&preference, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
      static_cast<std::uint32_t>(CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE));
  set(&preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, alignment_of(a.b));
  set(&preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, alignment_of(a.a));
  set(&preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, alignment_of(a.c));
  set(&preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, alignment_of(a.c));
  cublasLtMatmulHeuristicResult_t best;
  int found = 0;
  const cublasStatus_t status =
      cublasLtMatmulAlgoGetHeuristic(handle_, &plan.product, &plan.left, &plan.right, &plan.result,
                                     &plan.result, &preference, 1, &best, &found);
  if (status == CUBLAS_STATUS_NOT_SUPPORTED || (status == CUBLAS_STATUS_SUCCESS && found == 0)) {
    return std::nullopt;
  }
  check_lt(status, "choose an algorithm");
  if (best.state != CUBLAS_STATUS_SUCCESS) return std::nullopt;
  plan.algorithm = best.algo;
  return plan;
}

const std::optional<MatmulPlan>& LtMatmul::plan_for(const Matmul& a, Bytes scratch) {
  const MatmulKey key = key_of(a, scratch);
  const auto known = plans_.find(key);
  if (known != plans_.end()) return known->second;
  const auto made = plans_.emplace(key, make_plan(a, scratch)).first;
  if (!made->second) {
    log_warn("product of " + std::to_string(a.m) + " x " + std::to_string(a.n) + " x " +
             std::to_string(a.k) + ": own kernel, slower; cuBLASLt has none");
  }
  return made->second;
}

bool LtMatmul::multiply(cudaStream_t stream, Scratch scratch, const Matmul& a) {
  const std::lock_guard lock(mutex_);
  const std::optional<MatmulPlan>& plan = plan_for(a, scratch.size);
  if (!plan) return false;
  MatmulPlan call = *plan;
  if (a.bias != nullptr) set(&call.product, CUBLASLT_MATMUL_DESC_BIAS_POINTER, a.bias);
  const float one = 1.0F;
  const float beta = a.accumulate ? 1.0F : 0.0F;
  const cublasStatus_t status = cublasLtMatmul(
      handle_, &call.product, &one, a.b, &call.left, a.a, &call.right, &beta, a.c, &call.result,
      a.c, &call.result, &call.algorithm, scratch.data, count(scratch.size), stream);
  if (status != CUBLAS_STATUS_SUCCESS) check_device(stream, "start a matrix product");
  check_lt(status, "start a matrix product");
  return true;
}

// The library knows no fp32 product rounded to bf16, and no bias of another type than the
// result's; a bias is read in vectors.
bool is_of_its_kind(const Matmul& a) {
  if (a.dtype == DType::kFloat32 && a.output == DType::kBFloat16) return false;
  return a.bias == nullptr || (a.dtype == a.output && alignment_of(a.bias) == 16);
}

LtMatmul& library() {
  // Never destroyed: at exit the driver may be gone before it.
  static LtMatmul& one = *new LtMatmul;
  return one;
}

}  // namespace

bool lt_multiply(Queue& queue, const Matmul& a) {
  if (!is_of_its_kind(a)) return false;
  const cudaStream_t stream = stream_of(queue);  // makes the device current, for the handle
  return library().multiply(stream, queue.scratch(), a);
}

void lt_prepare(Queue& queue, const Matmul& a) {
  if (a.m == 0 || a.n == 0 || a.k == 0 || !is_of_its_kind(a)) return;
  static_cast<void>(stream_of(queue));
  library().prepare(queue.scratch().size, a);
}

}  // namespace sluice
