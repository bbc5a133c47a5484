"""`python -m seg_perception <verb>`."""

import sys

from seg_perception.cli import main

sys.exit(main())
