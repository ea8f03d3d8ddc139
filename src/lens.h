// Lens distortion of one point. See pear_ros/geometry/lens.py for the documentation.

#pragma once

#include <math.h>

#include "widths.h"

enum { LENS_ROW = 10, LENS_NEWTON_STEPS = 12 };

typedef struct {
  double is_fisheye, k[8], limit;  // k1 k2 p1 p2 k3 k4 k5 k6; fisheye: k1 k2 k3 k4
} Lens;

INLINE double radial(double q, double a, double b, double c) {
  return 1 + q * (a + q * (b + q * c));
}

INLINE double radial_slope(double q, double a, double b, double c) {
  return a + q * (2 * b + q * 3 * c);
}

// The point behind the lens of a ray's slope, both (2), and its derivatives (2, 2).
INLINE void distort(const Lens* lens, const double* slope, double* point, double by_slope[2][2]) {
  const double radius = sqrt(slope[0] * slope[0] + slope[1] * slope[1]), limit = lens->limit;
  const double shorter = radius > limit ? limit / radius : 1;
  const double x = slope[0] * shorter, y = slope[1] * shorter, q = x * x + y * y;
  const double* k = lens->k;
  double scale, growth, p1 = 0, p2 = 0;  // growth: of the scale over q, twice
  if (lens->is_fisheye) {
    const double r = sqrt(q), angle = atan(r), a = angle * angle;
    const double bent = angle * (1 + a * (k[0] + a * (k[1] + a * (k[2] + a * k[3]))));
    const double bend = 1 + a * (3 * k[0] + a * (5 * k[1] + a * (7 * k[2] + a * 9 * k[3])));
    scale = r > 1e-8 ? bent / r : 1;
    growth = r > 1e-4 ? (bend / (1 + q) - scale) / q : 2 * (k[0] - 1. / 3);
  } else {
    p1 = k[2], p2 = k[3];
    const double below = radial(q, k[5], k[6], k[7]);
    scale = radial(q, k[0], k[1], k[4]) / below;
    growth =
        2 / below * (radial_slope(q, k[0], k[1], k[4]) - scale * radial_slope(q, k[5], k[6], k[7]));
  }
  // Tangential terms stay as they are at the limit; the radius is continued linearly.
  const double sideways[2] = {2 * p1 * x * y + p2 * (q + 2 * x * x),
                              p1 * (q + 2 * y * y) + 2 * p2 * x * y};
  if (radius > limit) {
    const double end = scale + growth * q;  // slope of the distorted radius over the radius
    scale = (limit * scale + end * (radius - limit)) / radius;
    growth = (end - scale) / (radius * radius);
    p1 = p2 = 0;
  }
  for (int i = 0; i < 2; i++) point[i] = slope[i] * scale + sideways[i];
  by_slope[0][0] = scale + growth * slope[0] * slope[0] + 2 * p1 * y + 6 * p2 * x;
  by_slope[0][1] = by_slope[1][0] = growth * slope[0] * slope[1] + 2 * (p1 * x + p2 * y);
  by_slope[1][1] = scale + growth * slope[1] * slope[1] + 6 * p1 * y + 2 * p2 * x;
}

// The slope whose point behind the lens is `point`, both (2), and the derivatives there (2, 2).
INLINE void undistort(const Lens* lens, const double* point, double* slope, double by_slope[2][2]) {
  const double angle = sqrt(point[0] * point[0] + point[1] * point[1]);
  const double start = lens->is_fisheye && angle > 1e-12
                           ? tan(angle < 1.4 ? angle : 1.4) / angle
                           : 1;  // exact for a fisheye without coefficients
  for (int i = 0; i < 2; i++) slope[i] = start * point[i];
  for (int step = 0; step <= LENS_NEWTON_STEPS; step++) {
    double found[2];
    distort(lens, slope, found, by_slope);
    const double right = found[0] - point[0], down = found[1] - point[1];
    if (step == LENS_NEWTON_STEPS || right * right + down * down < 1e-26) break;
    const double determinant = by_slope[0][0] * by_slope[1][1] - by_slope[0][1] * by_slope[1][0];
    slope[0] -= (by_slope[1][1] * right - by_slope[0][1] * down) / determinant;
    slope[1] -= (by_slope[0][0] * down - by_slope[1][0] * right) / determinant;
  }
}
