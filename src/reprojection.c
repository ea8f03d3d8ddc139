// Places bodies in their cameras on a CPU. See pear_ros/placement/reprojection.py for the
// documentation and for the same in torch.
//
// With 55 joints and a few steps, the overhead of each torch operation exceeds its computation.

#include <math.h>
#include <stdbool.h>
#include <stdint.h>

#include "lens.h"
#include "widths.h"

// Compilers keep the order of floating-point sums, so a sum is split into LANES parts explicitly.
enum { MOST_JOINTS = 256, LANES = 8 };

typedef struct {
  int32_t num_joints, first_finger, num_steps;
  double finger_weight, nearest_m, crop_focal;
} Method;

typedef struct {
  double xy[2][MOST_JOINTS], z[MOST_JOINTS];  // m, without translation
  double seen[2][MOST_JOINTS];   // slopes of the rays in which the crop camera sees them
  double focal[2][MOST_JOINTS];  // px, times the weight of the joint
} Joints;

typedef struct {
  double scale[2][MOST_JOINTS], slope[2][MOST_JOINTS], residual[2][MOST_JOINTS];
} Equations;

INLINE double sum(const double* parts) {
  double total = 0;
  for (int i = 0; i < LANES; i++) total += parts[i];
  return total;
}

// The translation (3) that minimises |residual + scale * ((x, y) - slope * z)|^2; `size` is a
// multiple of LANES. With x and y eliminated, z is a ratio of sums; x and y are weighted means.
INLINE void least_squares(const Equations* e, int32_t size, double* translation) {
  double total[2], mean[2], off[2], above[LANES] = {0}, below[LANES] = {0};
  for (int axis = 0; axis < 2; axis++) {
    const double *scale = e->scale[axis], *slope = e->slope[axis], *residual = e->residual[axis];
    double weights[LANES] = {0}, slopes[LANES] = {0}, residuals[LANES] = {0};
    for (int32_t j = 0; j < size; j += LANES)
      for (int i = 0; i < LANES; i++) {
        const double weight = scale[j + i] * scale[j + i];
        weights[i] += weight;
        slopes[i] += weight * slope[j + i];
        residuals[i] += scale[j + i] * residual[j + i];
      }
    total[axis] = sum(weights);
    mean[axis] = sum(slopes) / total[axis];
    off[axis] = sum(residuals) / total[axis];
    for (int32_t j = 0; j < size; j += LANES)
      for (int i = 0; i < LANES; i++) {
        const double arm = scale[j + i] * (slope[j + i] - mean[axis]);
        above[i] += arm * residual[j + i];
        below[i] += arm * arm;
      }
  }
  translation[2] = sum(above) / sum(below);
  for (int axis = 0; axis < 2; axis++) translation[axis] = mean[axis] * translation[2] - off[axis];
}

INLINE double at_least(double value, double least) { return value < least ? least : value; }

// The slope (2) of the ray to a pixel (2); pixels per slope (2) there. Behind a lens these are
// those of a circle of the same area, for both axes.
INLINE void ray_of(const double* px, const double* intrinsics, const Lens* lens, double* slope,
                   double* focal) {
  for (int i = 0; i < 2; i++) {
    slope[i] = (px[i] - intrinsics[2 + i]) / intrinsics[i];
    focal[i] = intrinsics[i];
  }
  if (!lens) return;
  const double point[2] = {slope[0], slope[1]};
  double by_slope[2][2];
  undistort(lens, point, slope, by_slope);
  const double area = by_slope[0][0] * by_slope[1][1] - by_slope[0][1] * by_slope[1][0];
  for (int i = 0; i < 2; i++) focal[i] *= sqrt(fabs(area));
}

// As `camera_from_crop`: rotation (3, 3) from the crop camera's axes to the real camera's.
INLINE void crop_axes(const double* slope, double turn[3][3]) {
  const double right = slope[0], down = slope[1];  // of the ray through the crop's centre
  const double z = 1 / sqrt(1 + right * right + down * down), x = right * z, y = down * z;
  const double k = 1 / (1 + z);
  const double rows[3][3] = {
      {1 - k * x * x, -k * x * y, x}, {-k * x * y, 1 - k * y * y, y}, {-x, -y, z}};
  for (int i = 0; i < 9; i++) turn[i / 3][i % 3] = rows[i / 3][i % 3];
}

// Rays in which the crop camera sees the joints (num_joints, 3), and the weights of the joints.
INLINE void see(const Method* m, int32_t size, const double* joints, const double* camera_t,
                const double* xywh, const double* intrinsics, const Lens* lens,
                const double* centre, Joints* seen) {
  double turn[3][3];
  crop_axes(centre, turn);
  for (int32_t j = 0; j < m->num_joints; j++) {
    const double* at = joints + 3 * j;
    double in_crop[3];  // rotated into the crop camera's axes, about the pelvis
    for (int i = 0; i < 3; i++) {
      in_crop[i] = joints[i];
      for (int k = 0; k < 3; k++) in_crop[i] += (at[k] - joints[k]) * turn[k][i];
    }
    double farthest = 1, px[2], slope[2], focal[2];
    for (int axis = 0; axis < 2; axis++) {
      const double half_crops =
          m->crop_focal * (in_crop[axis] - camera_t[axis]) / (in_crop[2] + camera_t[2]);
      px[axis] = xywh[axis] + xywh[2 + axis] / 2 * (1 + half_crops);
      farthest = at_least(fabs(half_crops), farthest);
    }
    ray_of(px, intrinsics, lens, slope, focal);
    seen->z[j] = at[2];
    // The network did not see joints outside of the crop: their weights decrease with distance.
    const double squared = farthest * farthest, fourth = squared * squared;
    const double weight = (j < m->first_finger ? 1 : m->finger_weight) / (fourth * fourth);
    for (int axis = 0; axis < 2; axis++) {
      seen->xy[axis][j] = at[axis];
      seen->seen[axis][j] = slope[axis];
      seen->focal[axis][j] = weight * focal[axis];
    }
  }
  for (int32_t j = m->num_joints; j < size; j++) {  // padding with weight 0
    seen->z[j] = joints[2];
    for (int axis = 0; axis < 2; axis++)
      seen->xy[axis][j] = seen->seen[axis][j] = seen->focal[axis][j] = 0;
  }
}

// Errors in metres at the joint's depth, which are linear in the translation. The depth that
// follows from the person's size converts them to pixels.
INLINE void linear_errors(const Method* m, const Joints* joints, int32_t size, double depth_m,
                          Equations* e) {
  for (int axis = 0; axis < 2; axis++)
    for (int32_t j = 0; j < size; j++) {
      const double seen = joints->seen[axis][j];
      e->scale[axis][j] = joints->focal[axis][j] / at_least(depth_m + joints->z[j], m->nearest_m);
      e->slope[axis][j] = seen;
      e->residual[axis][j] = e->scale[axis][j] * (joints->xy[axis][j] - seen * joints->z[j]);
    }
}

// Errors in pixels of a body at a translation (3), linearised in the translation.
INLINE void pixel_errors(const Joints* joints, int32_t size, const double* translation,
                         Equations* e) {
  for (int axis = 0; axis < 2; axis++)
    for (int32_t j = 0; j < size; j++) {
      const double nearness = 1 / (joints->z[j] + translation[2]);
      const double focal = joints->focal[axis][j];
      e->scale[axis][j] = focal * nearness;
      e->slope[axis][j] = (joints->xy[axis][j] + translation[axis]) * nearness;
      e->residual[axis][j] = focal * (e->slope[axis][j] - joints->seen[axis][j]);
    }
}

INLINE double dot(const double* a, const double* b) {
  return a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
}

// joints (count, num_joints, 3), camera_t (count, 3), xywh (count, 4), intrinsics (count, 4),
// lenses (count) or null for pinholes -> translation (count, 3).
FOR_EACH_WIDTH
void pear_place(const Method* m, int32_t count, const double* joints, const double* camera_t,
                const double* xywh, const double* intrinsics, const Lens* lenses,
                float* translation) {
  const int32_t size = (m->num_joints + LANES - 1) / LANES * LANES;
  Joints seen;
  Equations equations;
  for (int32_t n = 0; n < count; n++, joints += 3 * m->num_joints, camera_t += 3, xywh += 4,
               intrinsics += 4, translation += 3) {
    const Lens* lens = lenses ? lenses + n : 0;
    const double middle[2] = {xywh[0] + xywh[2] / 2, xywh[1] + xywh[3] / 2};
    double centre[2], focal[2];
    ray_of(middle, intrinsics, lens, centre, focal);
    see(m, size, joints, camera_t, xywh, intrinsics, lens, centre, &seen);
    double nearest_z = joints[2];
    for (int32_t j = 1; j < m->num_joints; j++)
      nearest_z = joints[3 * j + 2] < nearest_z ? joints[3 * j + 2] : nearest_z;
    const double least_z = m->nearest_m - nearest_z;

    double t[3], step[3], last[3] = {0};
    const double depth_m = focal[0] * camera_t[2] / (m->crop_focal * xywh[2] / 2);
    linear_errors(m, &seen, size, depth_m, &equations);
    least_squares(&equations, size, t);
    t[2] = at_least(t[2], least_z);
    for (int32_t k = 0; k < m->num_steps; k++) {
      pixel_errors(&seen, size, t, &equations);
      least_squares(&equations, size, step);
      // If a step reverses a part of the previous one, the minimum lies between: shorten it.
      const double back = -dot(step, last) / at_least(dot(last, last), 1e-18);
      const double shorter = back > 1 ? 2 : 1 + at_least(back, 0);
      for (int i = 0; i < 3; i++) t[i] += last[i] = step[i] / shorter;
      t[2] = at_least(t[2], least_z);
    }
    bool is_good = camera_t[2] > 0;
    for (int i = 0; i < 3; i++) is_good = is_good && isfinite((float)t[i]);
    for (int i = 0; i < 3; i++) translation[i] = is_good ? (float)t[i] : NAN;
  }
}
