#include "ditmoe/base/version.h"

namespace ditmoe::base {

std::string_view version() { return DITMOE_VERSION; }

}  // namespace ditmoe::base
