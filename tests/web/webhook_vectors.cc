#include "tests/web/webhook_vectors.h"

#include <fstream>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_split.h"

namespace dreamgate::web {

std::vector<WebhookVector> ReadWebhookVectors() {
  std::vector<WebhookVector> vectors;
  std::ifstream file(WEBHOOK_VECTORS_FILE);
  for (std::string line; std::getline(file, line);) {
    if (absl::StartsWith(line, "#")) continue;
    const std::vector<std::string> fields = absl::StrSplit(line, '\t');
    const std::string body = fields.at(4) == "-" ? "" : absl::HexStringToBytes(fields.at(4));
    vectors.push_back({fields.at(0), fields.at(1), fields.at(2), fields.at(3), body, fields.at(5)});
  }
  return vectors;
}

}  // namespace dreamgate::web
