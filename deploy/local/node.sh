#!/bin/sh
# Runs a command with a Node that is new enough and with the packages of package-lock.json installed:
#   sh deploy/local/node.sh node deploy/local/up.ts
# An older machine gets a Node (and the npm that goes with it) of its own under .toolchain; nothing is installed outside the checkout.
set -eu
cd "$(dirname "$0")/../.."

say() { echo "$*" >&2; }

new_enough() {
  node -e 'const [a, b] = process.versions.node.split(".").map(Number); process.exit(a > 24 || (a === 24 && b >= 11) ? 0 : 1)' 2>/dev/null
}

# Runs a command with its output kept for the case that it fails.
quietly() {
  log=$(mktemp)
  start=$(date +%s)
  if "$@" >"$log" 2>&1; then
    say "  done in $(($(date +%s) - start)) s"
    rm -f "$log"
  else
    cat "$log" >&2
    rm -f "$log"
    return 1
  fi
}

[ ! -x .toolchain/node_modules/.bin/node ] || PATH="$PWD/.toolchain/node_modules/.bin:$PATH"
export PATH

if ! new_enough; then
  if ! command -v npm >/dev/null; then
    say 'Relay needs Node 24.11 or newer, or any older Node with npm, which then fetches it. Debian: apt-get install nodejs npm'
    exit 1
  fi
  found=$(node --version 2>/dev/null || echo none)
  say "Node 24 is needed and $found is here: fetching one into .toolchain …"
  mkdir -p .toolchain
  # npm runs install scripts only where they are allowed by name; Node's puts its binary in place.
  echo '{"private":true,"allowScripts":{"node":true}}' >.toolchain/package.json
  if ! quietly npm install --prefix .toolchain --no-save --no-fund --no-audit node@24 npm@11; then
    say 'Node 24 could not be fetched (see above). Check the network and run the same command again.'
    exit 1
  fi
  PATH="$PWD/.toolchain/node_modules/.bin:$PATH"
  if ! new_enough; then
    say 'The Node that was fetched does not run on this machine. Install Node 24.11 or newer by hand: https://nodejs.org/'
    exit 1
  fi
fi

# npm ci again only when the lock file has changed; it empties node_modules first, and with it the stamp.
stamp=node_modules/.installed
wanted=$(cksum <package-lock.json)
if [ ! -f "$stamp" ] || [ "$(cat "$stamp")" != "$wanted" ]; then
  if ! command -v npm >/dev/null; then
    say 'npm is missing: it is needed once, to install the packages. Debian: apt-get install npm'
    exit 1
  fi
  say 'Installing the packages of package-lock.json …'
  if ! quietly npm ci --include=dev --include=optional --no-fund --no-audit; then
    say 'The packages could not be installed (see above). Check the network and run the same command again.'
    exit 1
  fi
  echo "$wanted" >"$stamp"
fi

PATH="$PWD/node_modules/.bin:$PATH"
[ $# -eq 0 ] || exec "$@"
