"""rclpy's EventsExecutor, spun in a thread: no other thread of Python ever runs again.

    python3 events_executor_hang.py          # SingleThreadedExecutor: "it spins", "shutdown returns"
    python3 events_executor_hang.py events   # EventsExecutor: faulthandler, whose thread needs no interpreter, ends it
                                             # after 10 s with exit code 1 and shows where all stand

The timer's callback runs and sets the event, but the main thread never comes back from waiting for it: between callbacks
spin() keeps the interpreter's lock (GIL). Seen each time with rclpy 9.1 (Kilted's wheels). It also refuses guard
conditions, which other executors take: "Guard conditions not supported".
"""

import faulthandler
import sys
import threading

import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.experimental import EventsExecutor
from rclpy.node import Node

PATIENCE_S = 10.0


def main() -> None:
    """Spin in a thread until a timer was called, and shut down."""
    rclpy.init()
    executor = EventsExecutor() if "events" in sys.argv else SingleThreadedExecutor()
    node, spins = Node("hang"), threading.Event()
    node.create_timer(0.1, spins.set)
    executor.add_node(node)
    thread = threading.Thread(target=executor.spin, daemon=True)
    faulthandler.dump_traceback_later(PATIENCE_S, exit=True)
    thread.start()
    spins.wait()
    print("it spins; shutting it down", flush=True)
    executor.shutdown()
    print("shutdown returns", flush=True)
    faulthandler.cancel_dump_traceback_later()
    thread.join()
    node.destroy_node()
    rclpy.shutdown()


if __name__ == "__main__":
    main()
