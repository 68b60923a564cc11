#!/usr/bin/env bash
# Makes the signed webhooks that tests verify against, with the openssl command line tool: nothing of
# the code under test has a part in them. Needs bash, od and openssl.
#   tests/web/make_webhook_vectors.sh >tests/web/webhook_vectors.txt
# A line each: name, secret, webhook-id, webhook-timestamp, the body in hex, the signature in hex. Fields
# are separated by tabs; an empty body is "-".
set -euo pipefail

hex() { od -An -v -tx1 | tr -d ' \n'; }

# vector NAME SECRET ID TIMESTAMP, the body on standard input
vector() {
  local name=$1 secret=$2 id=$3 timestamp=$4 body key signature
  body=$(mktemp)
  cat >"$body"
  key=$(printf '%s' "${secret#whsec_}" | hex) # the text as it is, not decoded
  signature=$({ printf '%s.%s.' "$id" "$timestamp"; cat "$body"; } |
    openssl dgst -sha256 -mac HMAC -macopt "hexkey:$key" -hex | sed 's/^.*= *//')
  printf '%s\t%s\t%s\t%s\t%s\t%s\n' "$name" "$secret" "$id" "$timestamp" \
    "$([ -s "$body" ] && hex <"$body" || printf '%s' -)" "$signature"
  rm -f "$body"
}

echo "# made by tests/web/make_webhook_vectors.sh"
secret=whsec_correct+horse/battery=staple
completed='{"id":"task-1","model":"bytedance/dreamina-v3.0-pro/text-to-video","input":{"prompt":"a red kite"},"outputs":["https://cdn.example/a.mp4"],"urls":{"get":"https://api.example/r"},"has_nsfw_contents":[false],"status":"completed","created_at":"2023-11-14T22:11:40Z","error":"","executionTime":98000,"timings":{"inference":97412}}'
printf '%s' "$completed" | vector completed "$secret" msg_1 1700000000
printf '%s' '{"id":"task-1","status":"failed","error":"Content flagged","code":1200,"outputs":[]}' |
  vector failed "$secret" msg_2 1700000000
printf '%s' '{"id":"task-1"}' | vector bare "$secret" msg_3 1700000000
printf '%s\n' '{"id":"task-1"}' | vector newline_at_the_end "$secret" msg_3 1700000000
printf '%s\r\n' '{' '"id":"task-1"' '}' | vector windows_lines "$secret" msg_3 1700000000
printf '\xef\xbb\xbf%s' '{"id":"task-1"}' | vector byte_order_mark "$secret" msg_4 1700000000
printf '{"id":"task-1","error":"\xff\xc3("}' | vector invalid_utf8 "$secret" msg_5 1700000000
printf '{"id":"task-1","error":"a\\u0000b\\ud83d"}' | vector odd_escapes "$secret" msg_6 1700000000
printf '%s' '{"id":"task-1","input":{"prompt":"凧 🪁 été"}}' | vector many_alphabets "$secret" msg_7 1700000000
printf 'a\0b' | vector zero_byte "$secret" msg_8 1700000000
vector empty_body "$secret" msg_9 1700000000 </dev/null
printf '%s' '{"id":"task-1"}' | vector dotted_id "$secret" msg.1.2 1700000000
printf '%s' '{"id":"task-1"}' | vector other_timestamp "$secret" msg_1 1699999999
printf '%s' '{"id":"task-1"}' | vector secret_without_prefix just-a-secret msg_1 1700000000
printf '%s' '{"id":"task-1"}' | vector prefix_twice whsec_whsec_secret msg_1 1700000000
# A key that would be another if it were decoded from base64, and one longer than a block of SHA-256.
printf '%s' '{"id":"task-1"}' | vector base64_secret whsec_c2VjcmV0 msg_1 1700000000
printf '%s' '{"id":"task-1"}' |
  vector long_secret "whsec_$(printf 'k%.0s' {1..200})" msg_1 1700000000
head -c 4096 /dev/zero | tr '\0' 'x' | vector large "$secret" msg_10 1700000000
