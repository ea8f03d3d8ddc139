"""`python -m pear_ros.cli`: the command `pear-ros`."""

import sys

from pear_ros.cli.main import main

sys.exit(main())
