"""The node. Only files in here import rclpy or messages; nothing outside imports from here."""
