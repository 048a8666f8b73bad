#!/bin/sh
# Makes sure there is a redis-server for the tests: from Debian's packages, where that is allowed.
set -eu

say() { echo "$*" >&2; }

case "${1:-}" in
--install)
  # As root. Debian starts the service it installs: not for us, tests start their own on free ports.
  policy=/usr/sbin/policy-rc.d
  if [ ! -e "$policy" ]; then
    trap 'rm -f "$policy"' EXIT
    trap 'exit 1' INT TERM
    printf '#!/bin/sh\ncase "$1" in redis*) exit 101 ;; esac\nexit 0\n' >"$policy"
    chmod 755 "$policy"
  fi
  export DEBIAN_FRONTEND=noninteractive
  apt-get install -y --no-install-recommends redis-server || { apt-get update && apt-get install -y --no-install-recommends redis-server; }
  # Nor shall it start with the machine.
  if command -v systemctl >/dev/null; then systemctl disable redis-server >/dev/null 2>&1 || true; fi
  exit 0
  ;;
esac

! command -v redis-server >/dev/null || exit 0
if ! command -v apt-get >/dev/null; then
  say 'The tests need redis-server on PATH, and this machine has no apt-get to install it with. Install Redis and run this again.'
  exit 1
fi
if [ "$(id -u)" = 0 ]; then
  root=
elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
  root='sudo -n'
else
  say 'The tests need redis-server on PATH, and may not install it without root. Run: sudo apt-get install redis-server'
  exit 1
fi
say 'Installing redis-server from the Debian packages, for the tests …'
log=$(mktemp)
trap 'rm -f "$log"' EXIT
if ! $root sh "$0" --install >"$log" 2>&1 || ! command -v redis-server >/dev/null; then
  cat "$log" >&2
  say 'redis-server could not be installed (see above). Install it by hand and run this again.'
  exit 1
fi
say '  done'
