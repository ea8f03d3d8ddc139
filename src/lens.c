// Lens distortion of many points. See pear_ros/geometry/lens.py for the documentation.

#include "lens.h"

#include <stdint.h>

// lenses (num_lenses), slopes (num_lenses, count, 2) -> points (num_lenses, count, 2).
void pear_distort(const Lens* lenses, int64_t num_lenses, int64_t count, const double* slopes,
                  double* points) {
  double by_slope[2][2];
  for (int64_t n = 0; n < num_lenses; n++)
    for (int64_t i = 0; i < count; i++, slopes += 2, points += 2)
      distort(lenses + n, slopes, points, by_slope);
}

// The inverse: points -> slopes.
void pear_undistort(const Lens* lenses, int64_t num_lenses, int64_t count, const double* points,
                    double* slopes) {
  double by_slope[2][2];
  for (int64_t n = 0; n < num_lenses; n++)
    for (int64_t i = 0; i < count; i++, points += 2, slopes += 2)
      undistort(lenses + n, points, slopes, by_slope);
}
