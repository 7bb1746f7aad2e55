# shellcheck shell=bash
# What up, verify and rollback share; sourced by them.
#
#   PROJECT      the cloud project                     (must be set)
#   REGION       its region                            (must be set)
#   TOKEN_FILE   a file with a user's token            (must be set)
#   OTHER_TOKEN_FILE  another user's, to see that users are kept apart (up and verify do without)
#   SERVICE      the service's name                    (agent-host-staging)
#   EXPECT_LEVEL the level that the host must be at    (full)
#   AGENT_HOST   the program that verifies             (agent-host, on PATH)
#   PROXY_PORT   the local port of the way there       (18080)
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
name=${0##*/}
SERVICE=${SERVICE:-agent-host-staging}
EXPECT_LEVEL=${EXPECT_LEVEL:-full}
AGENT_HOST=${AGENT_HOST:-agent-host}
PROXY_PORT=${PROXY_PORT:-18080}
proxy=

say() { echo "$name: $*" >&2; }
fail() { say "$*"; exit 1; }

# needs VARIABLE…: every one that is missing is named at once, and nothing was done.
needs() {
  local missing=() one
  for one in "$@"; do
    [ -n "${!one:-}" ] || missing+=("$one")
  done
  if [ ${#missing[@]} -gt 0 ]; then
    say "nothing was done: set ${missing[*]} (the head of deploy/staging/common.sh says what each is)"
    exit 2
  fi
  for one in TOKEN_FILE OTHER_TOKEN_FILE; do
    if [ -n "${!one:-}" ] && [ ! -s "${!one}" ]; then
      say "nothing was done: $one is ${!one}, which is no file with a token in it"
      exit 2
    fi
  done
  for one in gcloud python3 "$AGENT_HOST"; do
    command -v "$one" >/dev/null || { say "nothing was done: $one is not on PATH"; exit 2; }
  done
}

cloud() { gcloud --quiet --project "$PROJECT" run "$@" --region "$REGION"; }

# looked_up: sets `service` to the service as JSON, or to nothing where there is none. A cloud that cannot be asked ends the
# script: taken for a service that is not there, it would be deployed to as if nothing served.
looked_up() {
  local found
  service=
  found=$(cloud services list --filter "metadata.name=$SERVICE" --format 'value(metadata.name)') ||
    fail "the cloud could not be asked for the service $SERVICE"
  [ -n "$found" ] || return 0
  service=$(cloud services describe "$SERVICE" --format json) || fail "the service $SERVICE could not be described"
}

# of JSON WHAT: `serving` (the revision with most traffic), `latest` (the newest that is ready), `previous` (the one so tagged).
of() {
  python3 -c '
import json, sys
service, what = json.loads(sys.argv[1]), sys.argv[2]
traffic = service.get("status", {}).get("traffic", [])
if what == "latest":
    print(service.get("status", {}).get("latestReadyRevisionName", ""))
elif what == "serving":
    best = max(traffic, key=lambda one: one.get("percent", 0), default={})
    print(best.get("revisionName", "") if best.get("percent", 0) else "")
else:
    print(next((one.get("revisionName", "") for one in traffic if one.get("tag") == what), ""))
' "$1" "$2"
}

close_proxy() {
  [ -z "$proxy" ] || { kill "$proxy" 2>/dev/null && wait "$proxy" 2>/dev/null; } || true
  proxy=
}
trap close_proxy EXIT

# verified [TAG]: whether `agent-host verify` approves of the service, or of its revision with that tag. TLS ends before the
# host: gcloud's proxy is the way there, with the caller's identity.
verified() {
  local status=0 more=() tagged=()
  [ -z "${1:-}" ] || tagged=(--tag "$1")
  [ -z "${OTHER_TOKEN_FILE:-}" ] || more=(--other-token-file "$OTHER_TOKEN_FILE")
  gcloud --quiet --project "$PROJECT" run services proxy "$SERVICE" --region "$REGION" --port "$PROXY_PORT" "${tagged[@]}" \
    >/dev/null 2>&1 &
  proxy=$!
  for _ in $(seq "${PROXY_WAIT:-100}"); do
    if (exec 3<>"/dev/tcp/127.0.0.1/$PROXY_PORT") 2>/dev/null; then break; fi
    kill -0 "$proxy" 2>/dev/null || { say "gcloud run services proxy ended"; break; }
    sleep 0.1
  done
  "$AGENT_HOST" verify "http://127.0.0.1:$PROXY_PORT" --token-file "$TOKEN_FILE" "${more[@]}" \
    --expect-level "$EXPECT_LEVEL" || status=$?
  close_proxy
  return $status
}

# moved REVISION: all traffic goes there.
moved() { cloud services update-traffic "$SERVICE" --to-revisions "$1=100" >/dev/null; }
