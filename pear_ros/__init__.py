"""PEAR for ROS 2: people as whole-body EHM parameters, from camera images.

Our modules and the generated messages share this package name.
"""

import pkgutil

# The generated pear_ros.msg lies in the installed copy. Where the source tree comes first on
# sys.path (running from the repository's root), this finds it there.
__path__ = pkgutil.extend_path(__path__, __name__)
