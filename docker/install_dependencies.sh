#!/usr/bin/env bash
# Everything that a checkout needs inside a ROS 2 image, as root: docker/install_dependencies.sh CHECKOUT
# rosdep brings what both package.xml name, and is told both folders: it looks for no package inside a package. pip brings the
# libraries that this system's packages lack or hold too old.
set -euo pipefail
checkout=$1
apt-get update
rosdep update --rosdistro "$ROS_DISTRO"
rosdep install --from-paths "$checkout" "$checkout/seg_perception_msgs" --ignore-src --rosdistro "$ROS_DISTRO" -y
apt-get install -y --no-install-recommends python3-pip
# From Ubuntu 24.04 on pip writes beside the system's packages only where it is told to (PEP 668).
export PIP_BREAK_SYSTEM_PACKAGES=1
python3 "$checkout/tools/missing_libraries.py" | xargs --no-run-if-empty --delimiter '\n' python3 -m pip install
rm -rf /var/lib/apt/lists/*
