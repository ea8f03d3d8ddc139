"""PEAR for ROS 2: estimates whole-body EHM parameters of people from camera images.

Our modules and the generated messages share this package name.
"""

import pkgutil

# The generated pear_ros.msg exists only in the installed copy. If the source tree comes first on
# sys.path (when running from the repository root), this makes that copy's pear_ros.msg importable.
__path__ = pkgutil.extend_path(__path__, __name__)
