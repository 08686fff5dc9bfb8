// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

#include <cmath>
#include <cstddef>
#include <vector>

namespace sluice {

struct AttentionShape {
  std::size_t sequences, length, heads, kv_heads, width;

  std::size_t tokens() const { return sequences * length; }
};

// Plain causal attention with whole rows of probabilities.
template <typename Real>
struct AttentionRef {
  AttentionShape shape;
  Real scale;
  std::vector<Real> q, k, v;  // [tokens, heads * width], kv_heads for k and v

  Real q_at(std::size_t t, std::size_t h, std::size_t d) const {
    return q[(t * shape.heads + h) * shape.width + d];
  }
  std::size_t kv_index(std::size_t t, std::size_t h, std::size_t d) const {
    const std::size_t g = h / (shape.heads / shape.kv_heads);
    return (t * shape.kv_heads + g) * shape.width + d;
  }

  // Probabilities of query t (in sequence s) over keys 0..t, and log of the sum.
  std::vector<Real> probabilities(std::size_t s, std::size_t h, std::size_t t,
                                  Real* log_sum) const {
    std::vector<Real> p(t + 1);
    Real maximum = -INFINITY;
    for (std::size_t j = 0; j <= t; ++j) {
      Real dot = 0;
      for (std::size_t d = 0; d < shape.width; ++d) {
        dot += q_at(s * shape.length + t, h, d) * k[kv_index(s * shape.length + j, h, d)];
      }
      p[j] = dot * scale;
      maximum = p[j] > maximum ? p[j] : maximum;
    }
    Real sum = 0;
    for (Real& x : p) sum += (x = std::exp(x - maximum));
    for (Real& x : p) x /= sum;
    *log_sum = maximum + std::log(sum);
    return p;
  }

  struct Forward {
    std::vector<Real> out, log_sum;
  };
  Forward forward() const {
    Forward f{std::vector<Real>(q.size()),
              std::vector<Real>(shape.sequences * shape.heads * shape.length)};
    for (std::size_t s = 0; s < shape.sequences; ++s) {
      for (std::size_t h = 0; h < shape.heads; ++h) {
        for (std::size_t t = 0; t < shape.length; ++t) {
          const std::size_t row = (s * shape.heads + h) * shape.length + t;
          const std::vector<Real> p = probabilities(s, h, t, &f.log_sum[row]);
          Real* out = &f.out[((s * shape.length + t) * shape.heads + h) * shape.width];
          for (std::size_t j = 0; j <= t; ++j) {
            for (std::size_t d = 0; d < shape.width; ++d) {
              out[d] += p[j] * v[kv_index(s * shape.length + j, h, d)];
            }
          }
        }
      }
    }
    return f;
  }

  struct Backward {
    std::vector<Real> dq, dk, dv;
  };
  Backward backward(const std::vector<Real>& dout) const {
    Backward b{std::vector<Real>(q.size()), std::vector<Real>(k.size()),
               std::vector<Real>(v.size())};
    for (std::size_t s = 0; s < shape.sequences; ++s) {
      for (std::size_t h = 0; h < shape.heads; ++h) {
        for (std::size_t t = 0; t < shape.length; ++t) backward_row(s, h, t, dout, &b);
      }
    }
    return b;
  }

 private:
  void backward_row(std::size_t s, std::size_t h, std::size_t t, const std::vector<Real>& dout,
                    Backward* b) const {
    Real log_sum = 0;
    const std::vector<Real> p = probabilities(s, h, t, &log_sum);
    const std::size_t row = ((s * shape.length + t) * shape.heads + h) * shape.width;
    std::vector<Real> dp(p.size());
    Real delta = 0;
    for (std::size_t j = 0; j <= t; ++j) {
      for (std::size_t d = 0; d < shape.width; ++d) {
        const std::size_t key = kv_index(s * shape.length + j, h, d);
        dp[j] += dout[row + d] * v[key];
        b->dv[key] += p[j] * dout[row + d];
      }
      delta += p[j] * dp[j];
    }
    for (std::size_t j = 0; j <= t; ++j) {
      const Real ds = p[j] * (dp[j] - delta) * scale;
      for (std::size_t d = 0; d < shape.width; ++d) {
        const std::size_t key = kv_index(s * shape.length + j, h, d);
        b->dq[row + d] += ds * k[key];
        b->dk[key] += ds * q[row + d];
      }
    }
  }
};

}  // namespace sluice
