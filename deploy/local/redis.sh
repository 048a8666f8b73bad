#!/bin/sh
# Makes sure there is a redis-server for the tests.
exec sh "$(dirname "$0")/debian.sh" redis-server redis-server
