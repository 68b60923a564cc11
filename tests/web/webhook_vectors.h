// Signed webhooks made by the openssl command line tool (make_webhook_vectors.sh), read from the file
// beside this one.
#ifndef DREAMGATE_TESTS_WEB_WEBHOOK_VECTORS_H_
#define DREAMGATE_TESTS_WEB_WEBHOOK_VECTORS_H_

#include <string>
#include <vector>

namespace dreamgate::web {

struct WebhookVector {
  std::string name;
  std::string secret;
  std::string id;
  std::string timestamp;
  std::string body;
  std::string signature;  // hex, without "v3,"
};

std::vector<WebhookVector> ReadWebhookVectors();

}  // namespace dreamgate::web

#endif  // DREAMGATE_TESTS_WEB_WEBHOOK_VECTORS_H_
