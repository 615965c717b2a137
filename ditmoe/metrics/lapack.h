#pragma once

#include <cstdint>
#include <span>
#include <vector>

// Linear algebra in f64 on row-major matrices, done by whichever BLAS and LAPACK are installed;
// their rounding may depend on the CPU and on their number of threads.
namespace ditmoe::metrics {

// sums [size, size] += rowsᵀ·rows, lower half alone; rows [count, size].
void add_squares(const double* rows, int64_t count, int64_t size, std::span<double> sums);

// Eigenvalues, ascending, of a symmetric matrix [size, size], whose lower half is read; the matrix
// becomes the eigenvectors, one a row. Throws failure where LAPACK does not converge.
std::vector<double> decompose_symmetric(std::span<double> matrix, int64_t size);

// Singular values, descending, of a·bᵀ with a [M, size] and b [N, size]; none where M or N is 0.
// Throws failure where LAPACK does not converge.
std::vector<double> singular_values_of_product(std::span<const double> a,
                                               std::span<const double> b,
                                               int64_t size);

}  // namespace ditmoe::metrics
