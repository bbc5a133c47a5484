"""Where frames come from and go to: bags, videos, folders, data sets, the drive."""
