#include "ditmoe/kernels/attention_avx512.h"

#include "ditmoe/kernels/attention_tiles.h"

namespace ditmoe::kernels {

void attend_avx512(const AttentionHead<float>& head) { attend<Avx512>(head); }

void attend_avx512(const AttentionHead<base::BFloat16>& head) { attend<Avx512>(head); }

}  // namespace ditmoe::kernels
