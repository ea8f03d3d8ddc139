"""`python -m pear_ros.cli`: the command `pear-ros`."""

import sys

from pear_ros.cli.entry import main

sys.exit(main())
