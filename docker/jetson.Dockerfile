# The node on a Jetson with JetPack 6 (CUDA and TensorRT from NVIDIA's image, Ubuntu 22.04, so ROS 2 Humble):
#   docker build --file docker/jetson.Dockerfile --tag seg_perception .
#   docker run --rm --runtime nvidia --network host --ipc host --volume seg_perception:/root/.cache/seg_perception \
#     seg_perception
# The volume keeps the engine, which is built at the first start.
FROM nvcr.io/nvidia/l4t-jetpack:r36.4.0

ENV DEBIAN_FRONTEND=noninteractive LANG=C.UTF-8 ROS_DISTRO=humble
ADD https://raw.githubusercontent.com/ros/rosdistro/master/ros.key /usr/share/keyrings/ros.key
# The distribution's present versions are what a robot is updated to.
# hadolint ignore=DL3008
RUN chmod 644 /usr/share/keyrings/ros.key \
    && echo "deb [signed-by=/usr/share/keyrings/ros.key] http://packages.ros.org/ros2/ubuntu jammy main" \
        > /etc/apt/sources.list.d/ros2.list \
    && apt-get update \
    && apt-get install -y --no-install-recommends \
        build-essential python3-colcon-common-extensions python3-rosdep ros-humble-ros-base \
    && rm -rf /var/lib/apt/lists/* \
    && rosdep init

WORKDIR /workspace
COPY . src/seg_perception
RUN src/seg_perception/docker/install_dependencies.sh src/seg_perception
# CUDA 12's calls from Python, without which TensorRT is not used.
RUN python3 -m pip install --no-cache-dir 'cuda-bindings>=12.6,<13'
SHELL ["/bin/bash", "-c"]
RUN . /opt/ros/humble/setup.bash \
    && colcon build --merge-install --base-paths src/seg_perception src/seg_perception/seg_perception_msgs \
    && rm -rf build log
COPY docker/entrypoint.sh /entrypoint.sh
ENTRYPOINT ["/entrypoint.sh"]
CMD ["ros2", "launch", "seg_perception", "camera.launch.py"]
