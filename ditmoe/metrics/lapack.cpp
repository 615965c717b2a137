#include "ditmoe/metrics/lapack.h"

#include <algorithm>
#include <cstddef>

#include "ditmoe/base/error.h"

// Fortran's names and conventions: everything by address, matrices by columns, the length of each
// text as one more argument at the end. What is by rows to us is transposed to them.
// NOLINTBEGIN(readability-identifier-naming)
extern "C" {
void dsyrk_(const char* half,
            const char* transpose,
            const int* n,
            const int* k,
            const double* alpha,
            const double* a,
            const int* lda,
            const double* beta,
            double* c,
            const int* ldc,
            size_t half_length,
            size_t transpose_length);
void dgemm_(const char* transpose_a,
            const char* transpose_b,
            const int* m,
            const int* n,
            const int* k,
            const double* alpha,
            const double* a,
            const int* lda,
            const double* b,
            const int* ldb,
            const double* beta,
            double* c,
            const int* ldc,
            size_t transpose_a_length,
            size_t transpose_b_length);
void dsyevd_(const char* job,
             const char* half,
             const int* n,
             double* a,
             const int* lda,
             double* eigenvalues,
             double* work,
             const int* work_size,
             int* integers,
             const int* integers_size,
             int* info,
             size_t job_length,
             size_t half_length);
void dgesdd_(const char* job,
             const int* m,
             const int* n,
             double* a,
             const int* lda,
             double* singular_values,
             double* u,
             const int* ldu,
             double* vt,
             const int* ldvt,
             double* work,
             const int* work_size,
             int* integers,
             int* info,
             size_t job_length);
}

// NOLINTEND(readability-identifier-naming)

namespace ditmoe::metrics {
namespace {

constexpr double kOne = 1;
constexpr double kZero = 0;
constexpr int kAsk = -1;  // as a size: tell how much is wanted in the first element

void expect_solved(int info, const char* routine) {
  DITMOE_ASSERT(info >= 0);  // below: an argument of ours is wrong
  if (info > 0) base::failure("LAPACK: {} did not converge ({})", routine, info);
}

}  // namespace

void add_squares(const double* rows, int64_t count, int64_t size, std::span<double> sums) {
  const int n = static_cast<int>(size);
  const int k = static_cast<int>(count);
  dsyrk_("U", "N", &n, &k, &kOne, rows, &n, &kOne, sums.data(), &n, 1, 1);
}

std::vector<double> decompose_symmetric(std::span<double> matrix, int64_t size) {
  const int n = static_cast<int>(size);
  std::vector<double> eigenvalues(static_cast<size_t>(size));
  std::vector<double> work(1);
  std::vector<int> integers(1);
  const auto solve = [&](int work_size, int integers_size) {
    int info = 0;
    dsyevd_("V",
            "U",
            &n,
            matrix.data(),
            &n,
            eigenvalues.data(),
            work.data(),
            &work_size,
            integers.data(),
            &integers_size,
            &info,
            1,
            1);
    expect_solved(info, "dsyevd");
  };
  solve(kAsk, kAsk);
  work.resize(static_cast<size_t>(work[0]));
  integers.resize(static_cast<size_t>(integers[0]));
  solve(static_cast<int>(work.size()), static_cast<int>(integers.size()));
  return eigenvalues;
}

std::vector<double> singular_values_of_product(std::span<const double> a,
                                               std::span<const double> b,
                                               int64_t size) {
  const int inner = static_cast<int>(size);
  const int m = static_cast<int>(a.size() / static_cast<size_t>(size));
  const int n = static_cast<int>(b.size() / static_cast<size_t>(size));
  if (m == 0 || n == 0) return {};
  std::vector<double> product(static_cast<size_t>(m) * static_cast<size_t>(n));
  dgemm_("T",
         "N",
         &m,
         &n,
         &inner,
         &kOne,
         a.data(),
         &inner,
         b.data(),
         &inner,
         &kZero,
         product.data(),
         &m,
         1,
         1);
  std::vector<double> values(static_cast<size_t>(std::min(m, n)));
  std::vector<int> integers(8 * values.size());
  std::vector<double> work(1);
  double unused = 0;
  const int one = 1;
  const auto solve = [&](int work_size) {
    int info = 0;
    dgesdd_("N",
            &m,
            &n,
            product.data(),
            &m,
            values.data(),
            &unused,
            &one,
            &unused,
            &one,
            work.data(),
            &work_size,
            integers.data(),
            &info,
            1);
    expect_solved(info, "dgesdd");
  };
  solve(kAsk);
  work.resize(static_cast<size_t>(work[0]));
  solve(static_cast<int>(work.size()));
  return values;
}

}  // namespace ditmoe::metrics
