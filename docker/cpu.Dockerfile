# The node on a CPU, in ROS 2's own image, x86-64 or arm64:
#   docker build --file docker/cpu.Dockerfile --tag seg_perception .
#   docker run --rm --network host --ipc host seg_perception
# --ipc host: images pass through shared memory, and a container's own /dev/shm of 64 MB is small for them.
ARG ROS_DISTRO=jazzy
FROM ros:${ROS_DISTRO}-ros-base

WORKDIR /workspace
COPY . src/seg_perception
RUN src/seg_perception/docker/install_dependencies.sh src/seg_perception
SHELL ["/bin/bash", "-c"]
RUN . "/opt/ros/$ROS_DISTRO/setup.bash" \
    && colcon build --merge-install --base-paths src/seg_perception src/seg_perception/seg_perception_msgs \
    && rm -rf build log
COPY docker/entrypoint.sh /entrypoint.sh
ENTRYPOINT ["/entrypoint.sh"]
CMD ["ros2", "launch", "seg_perception", "camera.launch.py"]
