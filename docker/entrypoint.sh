#!/usr/bin/env bash
# Runs a command where the workspace's packages are found.
set -e
. /workspace/install/setup.bash
exec "$@"
