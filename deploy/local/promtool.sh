#!/bin/sh
# Makes sure there is promtool for the tests of rules and dashboards.
exec sh "$(dirname "$0")/debian.sh" promtool prometheus
